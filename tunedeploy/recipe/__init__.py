"""From YAML to frozen records: read, layered, checked and explained. It opens no data and no model."""
