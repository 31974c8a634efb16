import type { Line } from './line.ts'
import type { Place, PooledConnection } from './place.ts'

/**
 * Takes back what others hold and can spare, where that helps a machine's requests that have nothing to count on.
 * @param places all of the user's
 * @returns whether something may have come free
 */
export function takeOffer<Connection extends PooledConnection>(
  line: Line<Connection>,
  places: Iterable<Place<Connection>>,
): boolean {
  for (const place of line.places) {
    if (place.offered === 0) continue
    place.takeBack()
    return true
  }
  // Another machine's place helps once it is empty, and one is enough at a time.
  let spare: Place<Connection> | undefined
  for (const place of places) {
    if (place.emptying) return false
    if (place.offered === 0 || place.offered + place.returning < place.leases) continue
    if (spare === undefined || place.offers.suspended.size < spare.offers.suspended.size) spare = place
  }
  spare?.empty()
  return spare !== undefined
}

/**
 * A place that was emptied for another machine's connection, which nobody wants any more, stays what it is.
 * @returns whether there was one
 */
export function keepUnwanted<Connection extends PooledConnection>(
  places: Iterable<Place<Connection>>,
): boolean {
  let found = false
  for (const place of places) {
    if (!place.emptying || !place.idle) continue
    place.emptying = false
    found = true
  }
  return found
}
