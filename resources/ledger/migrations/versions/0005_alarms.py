"""alarms"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'


def upgrade() -> None:
    op.create_table('alarm_kpis',
    sa.Column('site', sa.Text(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('n_operators', sa.Integer(), nullable=False),
    sa.Column('n_periods', sa.Integer(), nullable=False),
    sa.Column('n_alarms', sa.Integer(), nullable=False),
    sa.Column('n_site_events', sa.Integer(), nullable=False),
    sa.Column('rate_mean', sa.Double(), nullable=False),
    sa.Column('rate_peak', sa.Double(), nullable=False),
    sa.Column('n_flood_periods', sa.Integer(), nullable=False),
    sa.Column('n_chattering', sa.Integer(), nullable=False),
    sa.Column('n_fleeting', sa.Integer(), nullable=False),
    sa.Column('n_stale', sa.Integer(), nullable=False),
    sa.Column('n_standing', sa.Integer(), nullable=False),
    sa.Column('n_held_back', sa.Integer(), nullable=False),
    sa.Column('n_high', sa.Integer(), nullable=False),
    sa.Column('n_medium', sa.Integer(), nullable=False),
    sa.Column('n_low', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('site', 'day', name=op.f('pk_alarm_kpis'))
    )
    op.create_table('shelvings',
    sa.Column('shelving_id', sa.Integer(), sa.Identity(always=False), nullable=False),
    sa.Column('site', sa.Text(), nullable=False),
    sa.Column('machine_id', sa.Text(), nullable=False),
    sa.Column('incident_id', sa.Text(), nullable=True, comment='null: the machine with all its incidents'),
    sa.Column('start_at', sa.DateTime(timezone=True), nullable=False, comment='in the time of the readings, as all three times'),
    sa.Column('until', sa.DateTime(timezone=True), nullable=False, comment='when it is over by itself'),
    sa.Column('who', sa.Text(), nullable=False),
    sa.Column('why', sa.Text(), nullable=False),
    sa.Column('recorded_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True, comment='when a person ended it before its time; null where nobody did, as the next three'),
    sa.Column('ended_by', sa.Text(), nullable=True),
    sa.Column('ended_why', sa.Text(), nullable=True),
    sa.Column('end_recorded_at', sa.DateTime(timezone=True), nullable=True),
    sa.CheckConstraint('(ended_at is null) = (ended_by is null) and (ended_at is null) = (ended_why is null)', name=op.f('ck_shelvings_ended_by_someone')),
    sa.CheckConstraint('ended_at between start_at and until', name=op.f('ck_shelvings_ended_within')),
    sa.CheckConstraint('until > start_at', name=op.f('ck_shelvings_in_order')),
    sa.PrimaryKeyConstraint('shelving_id', name=op.f('pk_shelvings'))
    )
    op.create_index(op.f('ix_shelvings_site_until'), 'shelvings', ['site', 'until'], unique=False)
    op.create_table('incident_alarms',
    sa.Column('site', sa.Text(), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('incident_id', sa.Text(), nullable=False),
    sa.Column('machine_id', sa.Text(), nullable=False),
    sa.Column('alarm_id', sa.Text(), nullable=False),
    sa.Column('is_site_event', sa.Boolean(), nullable=False),
    sa.Column('priority', sa.Text(), nullable=False),
    sa.Column('opened_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('raised_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('shelving_id', sa.Integer(), nullable=True),
    sa.CheckConstraint('raised_at >= opened_at or is_site_event', name=op.f('ck_incident_alarms_raised_once_open')),
    sa.ForeignKeyConstraint(['incident_id', 'day'], ['incident_assessments.incident_id', 'incident_assessments.day'], name=op.f('fk_incident_alarms_incident_id_day_incident_assessments'), ondelete='CASCADE'),
    sa.ForeignKeyConstraint(['shelving_id'], ['shelvings.shelving_id'], name=op.f('fk_incident_alarms_shelving_id_shelvings')),
    sa.PrimaryKeyConstraint('site', 'day', 'incident_id', name=op.f('pk_incident_alarms'))
    )
    op.create_index(op.f('ix_incident_alarms_incident_id'), 'incident_alarms', ['incident_id'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_incident_alarms_incident_id'), table_name='incident_alarms')
    op.drop_table('incident_alarms')
    op.drop_index(op.f('ix_shelvings_site_until'), table_name='shelvings')
    op.drop_table('shelvings')
    op.drop_table('alarm_kpis')
