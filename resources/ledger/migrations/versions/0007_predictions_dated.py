"""predictions with dates, limits by themselves, and the model's version"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0007'
down_revision = '0006'


def upgrade() -> None:
    for name in ('fails_p10_at', 'fails_p50_at', 'fails_p90_at'):
        op.add_column('predictions', sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column('predictions', sa.Column('model_version', sa.Text(), nullable=True))
    op.add_column('predictions', sa.Column('passages', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute("update predictions set fails_p10_at = as_of + ttf_p10_days * interval '1 day', "
               "fails_p50_at = as_of + ttf_p50_days * interval '1 day', fails_p90_at = as_of + ttf_p90_days * interval '1 day'")
