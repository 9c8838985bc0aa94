"""Commands of ``paribus.cli``; like it, they import nothing heavy before they are called."""
