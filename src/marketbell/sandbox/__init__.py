"""The sandbox: both marketplaces alive, with buyers, couriers, a clock, and bad days on demand."""
