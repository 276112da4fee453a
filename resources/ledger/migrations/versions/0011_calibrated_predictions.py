"""predictions say by how many simulated failures they were put right"""

import sqlalchemy as sa
from alembic import op

revision = '0011'
down_revision = '0010'


def upgrade() -> None:
    op.add_column('predictions', sa.Column('calibrated_on', sa.Integer(), nullable=True))
    # kept until now in the words of the leading sensor's note only: "sensor: times put right by 94 failures of mode VIB"
    op.execute("update predictions set calibrated_on = "
               "substring(split_part(note, leading_sensor_id || ': times put right by ', 2) from '^[0-9]+')::integer "
               "where strpos(note, leading_sensor_id || ': times put right by ') > 0")


def downgrade() -> None:
    op.drop_column('predictions', 'calibrated_on')
