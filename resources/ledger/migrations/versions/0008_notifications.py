"""notifications"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'


def upgrade() -> None:
    op.create_table('notifications',
    sa.Column('notification_id', sa.BigInteger(), sa.Identity(always=False), nullable=False),
    sa.Column('event_key', sa.Text(), nullable=False, comment='names the event for good'),
    sa.Column('receiver_id', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('severity', sa.Text(), nullable=False),
    sa.Column('site', sa.Text(), nullable=True, comment='null: it concerns no single site'),
    sa.Column('subject', sa.Text(), nullable=False),
    sa.Column('body', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), server_default='pending', nullable=False, comment='withdrawn: no longer true before it was sent'),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('next_attempt_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('message_id', sa.Text(), nullable=True, comment='the message it went out with, alone or in a summary; the same at every attempt'),
    sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
    sa.Column('attempted_at', sa.DateTime(timezone=True), nullable=True, comment='when the latest attempt began'),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True, comment='who sends it has until then; null unless it is being sent'),
    sa.Column('sent_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_error', sa.Text(), nullable=True),
    sa.CheckConstraint("(state = 'sending') = (lease_until is not null)", name=op.f('ck_notifications_lease')),
    sa.CheckConstraint("severity in ('info', 'warning', 'critical')", name=op.f('ck_notifications_severity')),
    sa.CheckConstraint("state in ('pending', 'sending', 'sent', 'failed', 'withdrawn')", name=op.f('ck_notifications_state')),
    sa.PrimaryKeyConstraint('notification_id', name=op.f('pk_notifications')),
    sa.UniqueConstraint('event_key', 'receiver_id', name=op.f('uq_notifications_event_key_receiver_id'))
    )
    op.create_index(op.f('ix_notifications_receiver_id_attempted_at'), 'notifications', ['receiver_id', 'attempted_at'], unique=False)
    op.create_index('ix_notifications_waiting', 'notifications', ['receiver_id'], unique=False, postgresql_where=sa.text("state in ('pending', 'sending')"))


def downgrade() -> None:
    op.drop_table('notifications')
