//! The fleet in PostgreSQL: what routers read each second and operators change.

use std::net::IpAddr;

use sqlx::{FromRow, PgPool};
use wire::fleet::{Edge, EdgeState, Place};
use wire::{EdgeId, FieldError, PopId};

use super::EDGES_MAX;

const READ: &str = "SELECT e.edge_id, e.pop_id, e.url, e.admin_url, e.capacity_bps, e.icmp_host, e.state,
       p.city, p.country, p.latitude, p.longitude
  FROM edges e JOIN pops p USING (pop_id) ORDER BY e.edge_id LIMIT $1";

/// A POP keeps its place when an edge is registered without one.
const PUT_POP: &str = "INSERT INTO pops (pop_id, city, country, latitude, longitude) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (pop_id) DO UPDATE SET changed_at = now(), city = coalesce($2, pops.city),
       country = coalesce($3, pops.country), latitude = coalesce($4, pops.latitude),
       longitude = coalesce($5, pops.longitude)";

const PUT_EDGE: &str = "INSERT INTO edges (edge_id, pop_id, url, admin_url, capacity_bps, icmp_host, state)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (edge_id) DO UPDATE SET pop_id = $2, url = $3, admin_url = $4, capacity_bps = $5,
       icmp_host = $6, state = $7, changed_at = now()";

const SET_STATE: &str = "UPDATE edges SET state = $2, changed_at = now() WHERE edge_id = $1";

#[derive(Debug, FromRow)]
struct Row {
    edge_id: String,
    pop_id: String,
    url: String,
    admin_url: String,
    capacity_bps: i64,
    icmp_host: Option<String>,
    state: String,
    city: Option<String>,
    country: Option<String>,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

/// An edge, or the id of an entry that is none and why.
pub(crate) type Entry = Result<Edge, (String, FieldError)>;

/// # Errors
/// When PostgreSQL is away or has no such tables.
pub(crate) async fn read(pool: &PgPool) -> sqlx::Result<Vec<Entry>> {
    let rows: Vec<Row> = sqlx::query_as(READ).bind(i64::from(EDGES_MAX)).fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let id = row.edge_id.clone();
            row.edge().map_err(|e| (id, e))
        })
        .collect())
}

/// Registers or changes an edge, and its POP with it.
///
/// # Errors
/// As [`read`].
pub(crate) async fn put(pool: &PgPool, edge: &Edge) -> sqlx::Result<()> {
    let place = edge.place.as_ref();
    let mut transaction = pool.begin().await?;
    sqlx::query(PUT_POP)
        .bind(edge.pop.as_str())
        .bind(place.map(|p| p.city.as_str()))
        .bind(place.map(|p| p.country.as_str()))
        .bind(place.map(|p| p.latitude))
        .bind(place.map(|p| p.longitude))
        .execute(&mut *transaction)
        .await?;
    sqlx::query(PUT_EDGE)
        .bind(edge.edge_id.as_str())
        .bind(edge.pop.as_str())
        .bind(&edge.url)
        .bind(&edge.admin_url)
        .bind(i64::try_from(edge.capacity_bps).expect("Edge::check keeps it under 10 Tbit/s"))
        .bind(edge.icmp_host.map(|host| host.to_string()))
        .bind(edge.state.as_str())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Whether there was such an edge.
///
/// # Errors
/// As [`read`].
pub(crate) async fn delete(pool: &PgPool, id: &EdgeId) -> sqlx::Result<bool> {
    let done = sqlx::query("DELETE FROM edges WHERE edge_id = $1").bind(id.as_str()).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}

/// Whether there is such an edge.
///
/// # Errors
/// As [`read`].
pub(crate) async fn set_state(pool: &PgPool, id: &EdgeId, state: EdgeState) -> sqlx::Result<bool> {
    let done = sqlx::query(SET_STATE).bind(id.as_str()).bind(state.as_str()).execute(pool).await?;
    Ok(done.rows_affected() > 0)
}

impl Row {
    fn edge(self) -> Result<Edge, FieldError> {
        let place = self.place();
        Ok(Edge {
            edge_id: EdgeId::new(self.edge_id).map_err(|e| FieldError::new("edge_id", e.to_string()))?,
            pop: PopId::new(self.pop_id).map_err(|e| FieldError::new("pop", e.to_string()))?,
            url: self.url,
            admin_url: self.admin_url,
            capacity_bps: u64::try_from(self.capacity_bps)
                .map_err(|_| FieldError::new("capacity_bps", "must be above 0"))?,
            icmp_host: self.icmp_host.map(|host| parse_host(&host)).transpose()?,
            state: parse_state(&self.state)?,
            place,
        })
    }

    fn place(&self) -> Option<Place> {
        Some(Place {
            city: self.city.clone()?,
            country: self.country.clone()?,
            latitude: self.latitude?,
            longitude: self.longitude?,
        })
    }
}

fn parse_host(host: &str) -> Result<IpAddr, FieldError> {
    host.parse().map_err(|_| FieldError::new("icmp_host", "must be an IP address"))
}

fn parse_state(state: &str) -> Result<EdgeState, FieldError> {
    [EdgeState::Active, EdgeState::Drain, EdgeState::Maintenance]
        .into_iter()
        .find(|known| known.as_str() == state)
        .ok_or_else(|| FieldError::new("state", "must be active, drain or maintenance"))
}
