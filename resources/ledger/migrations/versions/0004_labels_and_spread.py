"""labels with their history, calibrated confidence, drift of the spread"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'


def upgrade() -> None:
    op.create_table('incident_labels',
    sa.Column('label_id', sa.BigInteger(), sa.Identity(always=False), nullable=False, comment="of an incident's labels the last one holds"),
    sa.Column('incident_id', sa.Text(), nullable=False),
    sa.Column('label', sa.Text(), nullable=False),
    sa.Column('source', sa.Text(), nullable=False, comment="a decision on its work order, the work's completion, or a person's word"),
    sa.Column('who', sa.Text(), nullable=False),
    sa.Column('why', sa.Text(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False, comment='when it was found; for a completion, the end of the work'),
    sa.Column('recorded_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
    sa.Column('order_id', sa.Text(), nullable=True, comment="null for a person's word"),
    sa.CheckConstraint("label in ('confirmed', 'false_alarm')", name=op.f('ck_incident_labels_label')),
    sa.CheckConstraint("source in ('decision', 'completion', 'person')", name=op.f('ck_incident_labels_source')),
    sa.ForeignKeyConstraint(['incident_id'], ['incidents.incident_id'], name=op.f('fk_incident_labels_incident_id_incidents')),
    sa.ForeignKeyConstraint(['order_id'], ['work_orders.order_id'], name=op.f('fk_incident_labels_order_id_work_orders')),
    sa.PrimaryKeyConstraint('label_id', name=op.f('pk_incident_labels'))
    )
    op.create_index(op.f('ix_incident_labels_incident_id'), 'incident_labels', ['incident_id'], unique=False)
    op.add_column('decisions', sa.Column('is_false_alarm', sa.Boolean(), server_default=sa.false(), nullable=False, comment='rejected because there is no fault, not for another reason'))
    op.execute("update decisions set is_false_alarm = true where decision = 'reject'")  # until now every rejection said so
    op.alter_column('decisions', 'is_false_alarm', server_default=None)
    op.create_check_constraint('false_alarms_are_rejected', 'decisions', "not is_false_alarm or decision = 'reject'")
    op.execute("""
        insert into incident_labels (incident_id, label, source, who, why, at, order_id)
        select incident_id, label, source, who, why, at, order_id from (
            select l.incident_id, 'false_alarm' as label, 'decision' as source, d.operator as who, d.reason as why, d.decided_at as at, d.order_id
            from decisions d join work_order_incidents l on l.order_id = d.order_id where d.decision = 'reject'
            union all
            select l.incident_id, case when m.finding = 'no_fault_found' then 'false_alarm' else 'confirmed' end, 'completion',
                   m.technician, 'finding: ' || m.finding, m.ended_at, m.order_id
            from maintenance_log m join work_order_incidents l on l.order_id = m.order_id
        ) said order by at, incident_id
    """)
    op.add_column('incident_assessments', sa.Column('confidence_by_rules', sa.Double(), nullable=True))
    op.execute("update incident_assessments set confidence_by_rules = confidence")
    op.alter_column('incident_assessments', 'confidence_by_rules', nullable=False)
    for name in ('spread_ks', 'spread_ks_p', 'spread_psi'):
        op.add_column('drift_findings', sa.Column(name, sa.Double(), nullable=True))
    op.add_column('drift_findings', sa.Column('drifted_in', sa.Text(), nullable=True))
    # findings made before the spread was looked at: no distance, as certain as can be, and all drift was the level's
    op.execute("update drift_findings set spread_ks = 0, spread_ks_p = 1, spread_psi = 0, drifted_in = case when is_drifted then 'level' end")
    for name in ('spread_ks', 'spread_ks_p', 'spread_psi'):
        op.alter_column('drift_findings', name, nullable=False)


def downgrade() -> None:
    op.drop_column('drift_findings', 'drifted_in')
    for name in ('spread_psi', 'spread_ks_p', 'spread_ks'):
        op.drop_column('drift_findings', name)
    op.drop_column('incident_assessments', 'confidence_by_rules')
    op.drop_constraint(op.f('ck_decisions_false_alarms_are_rejected'), 'decisions', type_='check')
    op.drop_column('decisions', 'is_false_alarm')
    op.drop_index(op.f('ix_incident_labels_incident_id'), table_name='incident_labels')
    op.drop_table('incident_labels')
