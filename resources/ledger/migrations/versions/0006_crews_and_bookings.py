"""crews, and nobody in two places"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'


def upgrade() -> None:
    op.add_column('work_orders', sa.Column('crew', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute('update work_orders set crew = jsonb_build_array(skills)')
    op.alter_column('work_orders', 'crew', nullable=False)
    op.drop_column('work_orders', 'skills')

    op.add_column('assignments', sa.Column('revision', sa.Integer(), server_default='0', nullable=False))
    op.alter_column('assignments', 'revision', server_default=None)
    op.drop_constraint(op.f('pk_assignments'), 'assignments', type_='primary')
    op.create_primary_key(op.f('pk_assignments'), 'assignments', ['site', 'day', 'order_id', 'technician_id'])
    # The extension btree_gist, which indexes text beside ranges, is not in every PostgreSQL; a range of one text is.
    op.execute('create type textrange as range (subtype = text)')
    op.execute(
        "alter table assignments add constraint nobody_is_in_two_places exclude using gist ("
        " textrange(site, site, '[]') with &&, daterange(day, day, '[]') with &&,"
        " textrange(technician_id, technician_id, '[]') with &&, tstzrange(start_at, end_at) with &&)"
    )
    op.add_column('unplanned_orders', sa.Column('smallest_change', sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column('unplanned_orders', 'smallest_change')
    op.drop_constraint('nobody_is_in_two_places', 'assignments')
    op.execute('drop type textrange')
    op.execute(
        'delete from assignments a using assignments b where (a.site, a.day, a.order_id) = (b.site, b.day, b.order_id)'
        ' and a.technician_id > b.technician_id'
    )
    op.drop_constraint(op.f('pk_assignments'), 'assignments', type_='primary')
    op.create_primary_key(op.f('pk_assignments'), 'assignments', ['site', 'day', 'order_id'])
    op.drop_column('assignments', 'revision')
    op.add_column('work_orders', sa.Column('skills', postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.execute('update work_orders set skills = crew -> 0')
    op.alter_column('work_orders', 'skills', nullable=False)
    op.drop_column('work_orders', 'crew')
