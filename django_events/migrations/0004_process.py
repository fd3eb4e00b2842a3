from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_events", "0003_set_aside"),
    ]

    operations = [
        migrations.CreateModel(
            name="Process",
            fields=[
                ("key", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("consume", "consume"),
                            ("catchup", "catchup"),
                            ("service", "Service"),
                            ("relay", "sends its events"),
                        ],
                        max_length=10,
                    ),
                ),
                ("host", models.CharField(max_length=255)),
                ("pid", models.BigIntegerField()),
                ("version", models.CharField(max_length=50)),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
                ("activity", models.JSONField()),
            ],
            options={
                "verbose_name": "process",
                "verbose_name_plural": "status",
                "default_permissions": ("view",),
            },
        ),
    ]
