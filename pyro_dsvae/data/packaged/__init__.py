"""Series that ship in other packages: nothing is downloaded."""
