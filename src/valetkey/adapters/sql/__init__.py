"""Every store, in SQL: one file per store, and the migrations."""
