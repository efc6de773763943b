"""What options are called and what each may be; pure."""
