"""What type checkers say of apps that use the package."""
