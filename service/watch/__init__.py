"""Whether a site's healthy calls keep the promise, and whether what it sends is still like what it sent."""
