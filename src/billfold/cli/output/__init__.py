"""What commands print: tables, JSON documents and the screen that they are written to."""
