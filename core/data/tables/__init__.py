"""Tables: a reader per format, and what columns mean. pyarrow is imported when one is read."""
