"""labelled failures, models learned from them, and what these foresee"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0010'
down_revision = '0009'


def upgrade() -> None:
    op.create_table(
        'machine_events',
        sa.Column('event_id', sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column('site', sa.Text(), nullable=False),
        sa.Column('machine_id', sa.Text(), nullable=False),
        sa.Column('at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('code', sa.Text(), nullable=False, comment='of a failure its mode, of a replacement the component, of an error its code'),
        sa.Column('source_name', sa.Text(), nullable=False, comment='name of the file it was imported from'),
        sa.Column('import_id', sa.Text(), nullable=False, comment='first 16 hex digits of the sha256 of that file'),
        sa.Column('recorded_at', sa.DateTime(timezone=True), server_default=sa.text('clock_timestamp()'), nullable=False),
        sa.CheckConstraint("kind in ('failure', 'replacement', 'error')", name=op.f('ck_machine_events_kind')),
        sa.PrimaryKeyConstraint('event_id', name=op.f('pk_machine_events')),
        sa.UniqueConstraint('site', 'machine_id', 'kind', 'at', 'code', name=op.f('uq_machine_events_site_machine_id_kind_at_code')),
    )
    op.create_index(op.f('ix_machine_events_site_at'), 'machine_events', ['site', 'at'])
    op.create_table(
        'failure_model_versions',
        sa.Column('site', sa.Text(), nullable=False),
        sa.Column('version', sa.Integer(), nullable=False, comment="version of the site's registered failure model in MLflow"),
        sa.Column('mlflow_run_id', sa.Text(), nullable=False),
        sa.Column('artifact_sha256', sa.Text(), nullable=False, comment='an artifact with any other hash is refused'),
        sa.Column('data_sha256', sa.Text(), nullable=False),
        sa.Column('data_start', sa.Date(), nullable=False),
        sa.Column('data_end', sa.Date(), nullable=False, comment='the last day it has seen, inclusive'),
        sa.Column('horizon_h', sa.Integer(), nullable=False),
        sa.Column('metrics', postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment='on machines and on time held out'),
        sa.Column('is_champion', sa.Boolean(), nullable=False, comment='made champion by its training'),
        sa.Column('why', sa.Text(), nullable=False, comment='why it was made champion, or was not'),
        sa.Column('trained_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('site', 'version', name=op.f('pk_failure_model_versions')),
    )
    op.create_table(
        'learned_predictions',
        sa.Column('site', sa.Text(), nullable=False),
        sa.Column('day', sa.Date(), nullable=False),
        sa.Column('machine_id', sa.Text(), nullable=False),
        sa.Column('as_of', sa.DateTime(timezone=True), nullable=False),
        sa.Column('horizon_h', sa.Integer(), nullable=False),
        sa.Column('probability', sa.Double(), nullable=False),
        sa.Column('model_version', sa.Integer(), nullable=False),
        sa.Column('artifact_sha256', sa.Text(), nullable=False),
        sa.CheckConstraint('probability between 0 and 1', name=op.f('ck_learned_predictions_probability')),
        sa.PrimaryKeyConstraint('site', 'day', 'machine_id', name=op.f('pk_learned_predictions')),
    )


def downgrade() -> None:
    for name in ('learned_predictions', 'failure_model_versions', 'machine_events'):
        op.drop_table(name)
