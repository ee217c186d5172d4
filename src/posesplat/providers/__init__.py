"""What methods are given besides images: depth, features and masks, each behind one small protocol."""
