"""Key points of one person, face or thing in each picture."""
