"""intake and verdicts"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'


def upgrade() -> None:
    op.create_table('revalidations',
    sa.Column('revalidation_id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('site', sa.Text(), nullable=False),
    sa.Column('first_day', sa.Date(), nullable=False),
    sa.Column('last_day', sa.Date(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('who', sa.Text(), nullable=False),
    sa.Column('why', sa.Text(), nullable=False),
    sa.Column('policy', postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="the site's verdict policy from then on"),
    sa.Column('changes', postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment='incident, day, and verdict and confidence before and after, of those that changed'),
    sa.PrimaryKeyConstraint('revalidation_id', name=op.f('pk_revalidations'))
    )
    op.create_index(op.f('ix_revalidations_site_at'), 'revalidations', ['site', 'at'], unique=False)
    op.alter_column('assignments', 'day',
               existing_type=sa.DATE(),
               comment=None,
               existing_comment='the plan it belongs to',
               existing_nullable=False)
    op.add_column('drops', sa.Column('rows_repaired', sa.BigInteger(), server_default='0', nullable=False, comment="of the accepted: put right as the plant file asks, or converted to the sensor's unit"))
    op.add_column('drops', sa.Column('releases', sa.Text(), nullable=True, comment='the drop whose quarantined rows this one judged anew; null for a delivery'))
    op.create_foreign_key(op.f('fk_drops_releases_drops'), 'drops', 'drops', ['releases'], ['drop_id'])
    op.add_column('incident_assessments', sa.Column('rules', postgresql.JSONB(astext_type=sa.Text()), server_default='[]', nullable=False))
    op.alter_column('incident_assessments', 'day',
               existing_type=sa.DATE(),
               comment=None,
               existing_comment='what was known of the incident at the end of this day',
               existing_nullable=False)
    op.alter_column('incident_assessments', 'ended_at',
               existing_type=postgresql.TIMESTAMP(timezone=True),
               comment=None,
               existing_comment='null while it goes on',
               existing_nullable=True)
    op.alter_column('incidents', 'incident_id',
               existing_type=sa.TEXT(),
               comment=None,
               existing_comment='machine and onset: a re-run finds the same incident',
               existing_nullable=False)
    op.alter_column('incidents', 'label',
               existing_type=sa.TEXT(),
               comment=None,
               existing_comment='what people found: confirmed or false_alarm; null while nobody said',
               existing_nullable=True)
    op.alter_column('plans', 'start_at',
               existing_type=postgresql.TIMESTAMP(timezone=True),
               comment=None,
               existing_comment='nothing is planned before',
               existing_nullable=False)
    op.alter_column('predictions', 'ttf_p10_days',
               existing_type=sa.DOUBLE_PRECISION(precision=53),
               comment=None,
               existing_comment='null: not within the horizon',
               existing_nullable=True)
    op.alter_column('predictions', 'incident_ids',
               existing_type=postgresql.JSONB(astext_type=sa.Text()),
               comment=None,
               existing_comment='the incidents it was asked for; empty: falling health',
               existing_nullable=False)
    op.add_column('quarantine_counts', sa.Column('released_by', sa.Text(), nullable=True, comment='the drop that judged these rows anew; null while they lie in quarantine'))
    op.create_foreign_key(op.f('fk_quarantine_counts_released_by_drops'), 'quarantine_counts', 'drops', ['released_by'], ['drop_id'])
    op.add_column('segments', sa.Column('reopened_at', sa.DateTime(timezone=True), nullable=True, comment='when it was last made to wait again, because something that its site-day rests on had changed'))
    op.add_column('validations', sa.Column('validated_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False))
    op.alter_column('work_orders', 'assessed_on',
               existing_type=sa.DATE(),
               comment=None,
               existing_comment='the latest day whose findings these figures rest on',
               existing_nullable=False)
    op.alter_column('work_orders', 'risk_cost',
               existing_type=sa.DOUBLE_PRECISION(precision=53),
               comment=None,
               existing_comment="in the site's currency",
               existing_nullable=False)
    op.alter_column('work_orders', 'probability_7d',
               existing_type=sa.DOUBLE_PRECISION(precision=53),
               comment=None,
               existing_comment='null: nothing was predicted',
               existing_nullable=True)
    op.alter_column('drops', 'rows_repaired', server_default=None)
    op.alter_column('incident_assessments', 'rules', server_default=None)
    op.create_check_constraint('repaired_rows_are_good', 'drops', 'rows_repaired <= rows_accepted + rows_duplicate')


def downgrade() -> None:
    op.drop_constraint(op.f('ck_drops_repaired_rows_are_good'), 'drops', type_='check')
    op.alter_column('work_orders', 'probability_7d',
               existing_type=sa.DOUBLE_PRECISION(precision=53),
               comment='null: nothing was predicted',
               existing_nullable=True)
    op.alter_column('work_orders', 'risk_cost',
               existing_type=sa.DOUBLE_PRECISION(precision=53),
               comment="in the site's currency",
               existing_nullable=False)
    op.alter_column('work_orders', 'assessed_on',
               existing_type=sa.DATE(),
               comment='the latest day whose findings these figures rest on',
               existing_nullable=False)
    op.drop_column('validations', 'validated_at')
    op.drop_column('segments', 'reopened_at')
    op.drop_constraint(op.f('fk_quarantine_counts_released_by_drops'), 'quarantine_counts', type_='foreignkey')
    op.drop_column('quarantine_counts', 'released_by')
    op.alter_column('predictions', 'incident_ids',
               existing_type=postgresql.JSONB(astext_type=sa.Text()),
               comment='the incidents it was asked for; empty: falling health',
               existing_nullable=False)
    op.alter_column('predictions', 'ttf_p10_days',
               existing_type=sa.DOUBLE_PRECISION(precision=53),
               comment='null: not within the horizon',
               existing_nullable=True)
    op.alter_column('plans', 'start_at',
               existing_type=postgresql.TIMESTAMP(timezone=True),
               comment='nothing is planned before',
               existing_nullable=False)
    op.alter_column('incidents', 'label',
               existing_type=sa.TEXT(),
               comment='what people found: confirmed or false_alarm; null while nobody said',
               existing_nullable=True)
    op.alter_column('incidents', 'incident_id',
               existing_type=sa.TEXT(),
               comment='machine and onset: a re-run finds the same incident',
               existing_nullable=False)
    op.alter_column('incident_assessments', 'ended_at',
               existing_type=postgresql.TIMESTAMP(timezone=True),
               comment='null while it goes on',
               existing_nullable=True)
    op.alter_column('incident_assessments', 'day',
               existing_type=sa.DATE(),
               comment='what was known of the incident at the end of this day',
               existing_nullable=False)
    op.drop_column('incident_assessments', 'rules')
    op.drop_constraint(op.f('fk_drops_releases_drops'), 'drops', type_='foreignkey')
    op.drop_column('drops', 'releases')
    op.drop_column('drops', 'rows_repaired')
    op.alter_column('assignments', 'day',
               existing_type=sa.DATE(),
               comment='the plan it belongs to',
               existing_nullable=False)
    op.drop_index(op.f('ix_revalidations_site_at'), table_name='revalidations')
    op.drop_table('revalidations')
