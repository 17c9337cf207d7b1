"""What people look at: tables for the terminal and plots. Imported only where one is shown."""
