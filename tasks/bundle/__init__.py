"""The folder that ships: model, contract, golden vectors, card, hashes, and the script that checks them."""
