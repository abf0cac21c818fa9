"""What is known of every host before anything is measured on several."""
