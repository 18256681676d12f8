"""Training on the rows of several sites of which none leaves its site: what a site answers, and what is made of it."""
