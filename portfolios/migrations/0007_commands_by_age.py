from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('portfolios', '0006_doors'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='command',
            index=models.Index(fields=['created_at'], name='portfolios_command_created'),
        ),
    ]
