"""promotions form a chain"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from ml.promotion_chain import BEFORE_THE_FIRST, row_sha256

revision = '0003'
down_revision = '0002'

ADDED = (
    sa.Column('place', sa.Integer(), comment='1, 2, 3, ... within the site, without a gap'),
    sa.Column('metrics', postgresql.JSONB(astext_type=sa.Text()), comment="of the version, as its training measured them; empty: not trained here"),
    sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), comment='that the version was trained on: first and last day, sha256; and sha256 of the artifact'),
    sa.Column('previous_sha256', sa.Text(), comment="sha256 of the site's row before; zeros for the first"),
    sa.Column('sha256', sa.Text(), comment='over all of the row but its id and this: see ml.promotion_chain'),
)
APPEND_ONLY = """
create function refuse_changes() returns trigger language plpgsql as $$
begin
    raise exception 'the rows of % are history: they are neither changed nor deleted', tg_table_name;
end $$;
create trigger promotions_are_history before update or delete or truncate on promotions
    for each statement execute function refuse_changes();
"""


def upgrade() -> None:
    for column in ADDED:
        op.add_column('promotions', column)
    op.alter_column('promotions', 'to_version', existing_type=sa.INTEGER(), nullable=True, comment='null: the alias was taken away')
    _chain()
    for column in ADDED:
        op.alter_column('promotions', column.name, existing_type=column.type, existing_comment=column.comment, nullable=False)
    op.drop_index(op.f('ix_promotions_site'), table_name='promotions')
    op.create_unique_constraint(op.f('uq_promotions_site_place'), 'promotions', ['site', 'place'])
    op.execute(APPEND_ONLY)


def _chain() -> None:
    """The rows that are there, in the order in which they were written; metrics and data from their versions."""
    connection = op.get_bind()
    rows = connection.execute(sa.text(
        "select p.*, coalesce(v.metrics, '{}') as version_metrics, case when v.site is null then '{}'::jsonb else jsonb_build_object("
        "'data_start', v.data_start, 'data_end', v.data_end, 'data_sha256', v.data_sha256, 'artifact_sha256', v.artifact_sha256) end"
        " as version_data from promotions p left join detector_versions v on v.site = p.site and v.version = p.to_version"
        " order by p.promotion_id"
    )).mappings().all()
    last: dict[str, tuple[int, str]] = {}
    change = sa.text(
        "update promotions set place = :place, metrics = :metrics, data = :data, previous_sha256 = :previous_sha256, sha256 = :sha256"
        " where promotion_id = :promotion_id"
    ).bindparams(sa.bindparam('metrics', type_=postgresql.JSONB()), sa.bindparam('data', type_=postgresql.JSONB()))
    for found in rows:
        place, previous = last.get(found['site'], (0, BEFORE_THE_FIRST))
        row = {**found, 'place': place + 1, 'metrics': found['version_metrics'], 'data': found['version_data'], 'previous_sha256': previous}
        row['sha256'] = row_sha256(row)
        connection.execute(change, {name: row[name] for name in ('place', 'metrics', 'data', 'previous_sha256', 'sha256', 'promotion_id')})
        last[found['site']] = (row['place'], row['sha256'])
