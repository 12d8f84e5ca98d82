"""The core: login, sessions, tokens and what they are made of; knows neither Flask nor requests."""
