"""Small trained models and their data; installed as `tfcompress.saved_models`. Made by scripts in tools/."""
