from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Effect",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("key", models.CharField(max_length=50)),
                ("number", models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="HandwrittenMark",
            fields=[
                ("event_id", models.CharField(max_length=100, primary_key=True, serialize=False)),
            ],
        ),
        migrations.CreateModel(
            name="HandwrittenRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("topic", models.CharField(max_length=249)),
                ("key", models.BinaryField()),
                ("value", models.BinaryField()),
                ("headers", models.BinaryField()),
                ("saved_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
