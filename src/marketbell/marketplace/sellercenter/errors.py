"""The errors of the Action API: their numbers, their texts and whose fault they are."""

from __future__ import annotations

from typing import Final

import msgspec

from marketbell.errors import MarketbellError

PLATFORM: Final = frozenset({6, 1000})
"""Codes that blame the platform; every other blames the caller."""

DETAILS_MAX: Final = 50
"""The most details that one answer holds."""

MESSAGES: Final[dict[int, str]] = {
    1: "E001: Parameter {} is mandatory",
    2: "E002: Invalid Version",
    3: "E003: Timestamp has expired",
    4: "E004: Invalid Timestamp format",
    5: "E005: Invalid Request Format",
    6: "E006: Unexpected internal error",
    7: "E007: Login failed. Signature mismatching",
    8: "E008: Invalid Action",
    9: "E009: Access Denied",
    10: "E010: Insecure Channel",
    11: "E011: Request too Big",
    12: "E012: Invalid Feed ID",
    13: "E013: Invalid Feed Status",
    14: 'E014: "{}" Invalid Offset',
    15: 'E015: "{}" Invalid Page Size',
    16: 'E016: "{}" Invalid Order ID',
    17: 'E017: "{}" Invalid Date Format',
    18: "E018: Either CreatedAfter or UpdatedAfter is mandatory",
    19: 'E019: "{}" Invalid Limit',
    20: 'E020: "{}" Invalid Order Item ID',
    21: "E021: OMS Api Error Occurred",
    22: 'E022: "{}" Invalid Reason',
    23: 'E023: "{}" Invalid Order Item IDs',
    28: 'E028: It is not possible to set the order to the status "{}"',
    29: "E029: Order items must be from the same order",
    30: "E030: Empty Request",
    36: "E036: Invalid status filter",
    37: "E037: One or more order id in the list are incorrect",
    38: "E038: Too many orders were requested",
    39: "E039: No orders were found",
    46: "E046: Invalid CreationDate value",
    47: "E047: Invalid UpdatedDate value",
    56: "E056: Invalid OrdersIdList format. Must use array format [1,2]",
    73: "E073: All order items must have status Pending or Ready To Ship. ({})",
    74: "E074: Invalid sort direction.",
    75: "E075: Invalid sort filter.",
    89: "E089: {} is a required field",
    96: "E096: Duplicate serial number among order items ({})",
    97: "E097: {} has a wrong value",
    98: 'E098: Invalid Webhook Callback Url, "{}"',
    99: 'E099: Invalid Webhook Event Alias, "Events alias are not matching"',
    100: "E100: Invalid Webhook ID",
    121: "E121: Invalid Packing ID",
    429: "E429: Too many requests",
    1000: "E1000: {}",
}
"""Every code that the documents give for the actions here, with its text."""

FORMAT_ERROR: Final = "Format Error Detected"
"""What code 1000 says of a body that is XML but not what the action takes."""

NEVER_GIVEN: Final = frozenset({9, 10, 21, 96, 121})
"""
Codes that stand in the documents and have no cause here.

9: there are no roles with fewer actions. 10: the channel is the operator's to secure. 21: there
is no order system behind. 96, 121: serial numbers and packings are not kept.
"""


class Detail(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one field of a request."""

    field: str
    message: str
    value: str = ""
    seller_sku: str = ""


class ActionError(MarketbellError):
    """An action was refused; becomes an ErrorResponse with HTTP status 200."""

    code = "seller_center"

    def __init__(self, number: int, word: str = "", *details: Detail) -> None:
        text = MESSAGES[number].format(word)
        super().__init__(text)
        self.number = number
        """As in ErrorCode."""
        self.details = details[:DETAILS_MAX]

    @property
    def kind(self) -> str:
        """Whose fault it is: `Sender` or `Platform`."""
        return "Platform" if self.number in PLATFORM else "Sender"
