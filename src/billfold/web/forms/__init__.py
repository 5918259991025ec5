"""What pages read from their URLs and forms: filters, months, groups and the fields that show them."""
