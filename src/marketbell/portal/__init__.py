"""The portal: pages on which a seller sees its endpoints and messages, and sends again."""
