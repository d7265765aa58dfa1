"""How each marketplace talks: bodies, headers, success rules, schedules, catalogues. Pure."""
