"""The console: web pages for operators, moderators and trainers, in a process of its own."""
