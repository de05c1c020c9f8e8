"""What runs inside a Kaggle session; every module here travels in the pushed script."""
