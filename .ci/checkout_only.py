"""Refuse to build: the commands run from the checkout, and a wheel would hold none of them."""

raise SystemExit("This project runs from its checkout: pip install -r requirements.txt, then python train.py --help.")
