"""modified orders and findings"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0009'
down_revision = '0008'

DECISIONS = ('approve', 'reject', 'defer', 'cancel')


def upgrade() -> None:
    op.add_column('decisions', sa.Column('confidence', sa.Double(), nullable=True, comment='how sure the operator is; null where not said'))
    op.add_column('decisions', sa.Column('priority', sa.Text(), nullable=True, comment='set by a modification, as the next three'))
    op.add_column('decisions', sa.Column('not_before', sa.DateTime(timezone=True), nullable=True))
    op.add_column('decisions', sa.Column('not_after', sa.DateTime(timezone=True), nullable=True))
    op.add_column('decisions', sa.Column('skills', postgresql.JSONB(none_as_null=True), nullable=True))
    op.drop_constraint(op.f('ck_decisions_decision'), 'decisions')
    op.create_check_constraint(op.f('ck_decisions_decision'), 'decisions', _one_of((*DECISIONS, 'modify')))
    op.create_check_constraint(op.f('ck_decisions_confidence'), 'decisions', 'confidence between 0 and 1')
    op.create_check_constraint(
        op.f('ck_decisions_changes_are_modifications'), 'decisions',
        "(decision = 'modify') = (num_nonnulls(priority, not_before, not_after, skills) > 0)",
    )
    op.add_column('work_orders', sa.Column('not_before', sa.DateTime(timezone=True), nullable=True))
    op.add_column('work_orders', sa.Column('set_by_people', postgresql.JSONB(none_as_null=True), nullable=True))
    op.add_column('maintenance_log', sa.Column('failure_mechanism', sa.Text(), nullable=True, comment='ISO 14224 code; null where not said'))
    op.add_column('maintenance_log', sa.Column('failure_cause', sa.Text(), nullable=True, comment='ISO 14224 code; null where not said'))
    op.add_column('maintenance_log', sa.Column('parts_used', postgresql.JSONB(), server_default='[]', nullable=False, comment='part ids, one for each piece'))
    op.add_column('maintenance_log', sa.Column('hours_worked', sa.Double(), nullable=True, comment='hands on the machine, without waiting and ways; null where not said'))
    op.add_column('maintenance_log', sa.Column('scheduled_start_at', sa.DateTime(timezone=True), nullable=True, comment='its place in the plan of an earlier day, off which the report took it; null: none'))
    op.add_column('maintenance_log', sa.Column('scheduled_end_at', sa.DateTime(timezone=True), nullable=True))
    op.create_check_constraint(op.f('ck_maintenance_log_hours_worked'), 'maintenance_log', 'hours_worked >= 0')


def downgrade() -> None:
    op.drop_constraint(op.f('ck_maintenance_log_hours_worked'), 'maintenance_log')
    for name in ('failure_mechanism', 'failure_cause', 'parts_used', 'hours_worked', 'scheduled_start_at', 'scheduled_end_at'):
        op.drop_column('maintenance_log', name)
    for name in ('not_before', 'set_by_people'):
        op.drop_column('work_orders', name)
    op.execute("update work_order_events set request_id = null where request_id in (select request_id from decisions where decision = 'modify')")
    op.execute("delete from decisions where decision = 'modify'")
    for name in ('changes_are_modifications', 'confidence', 'decision'):
        op.drop_constraint(op.f(f'ck_decisions_{name}'), 'decisions')
    for name in ('confidence', 'priority', 'not_before', 'not_after', 'skills'):
        op.drop_column('decisions', name)
    op.create_check_constraint(op.f('ck_decisions_decision'), 'decisions', _one_of(DECISIONS))


def _one_of(words: tuple[str, ...]) -> str:
    return 'decision in (' + ', '.join(f"'{word}'" for word in words) + ')'
