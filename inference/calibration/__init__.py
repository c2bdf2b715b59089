"""Do intervals hold what they promise, and does the guide find what the model drew?"""
