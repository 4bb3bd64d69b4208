"""Where FiftyOne is touched: samples, fields, tags, views, runs and releases. No mathematics."""
