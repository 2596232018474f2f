"""The SQL that matters: named, commented statements that one can paste into psql, one module per noun."""
