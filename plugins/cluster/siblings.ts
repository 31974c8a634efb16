import { portsMissing } from './errors.ts'
import type { ClusterPluginOptions } from './index.ts'
import type { Place } from './places.ts'

/**
 * The other workers of one proxy (`tunnel server --workers`), as far as their supervisor tells of them. They find each
 * other without the settings, on ports of the loopback interface.
 */
export interface Siblings {
  /** Which of them this one is, from 1 on. */
  readonly number: number
  /** Tells this worker from all other replicas; the one that replaces it has the same. */
  readonly id: string
  /** By which they know each other; another one with each start of the proxy. */
  readonly secret: string
  /** Where the others listen for links between replicas. */
  places(): readonly Place[]
  /** Calls `listener` when they are others. */
  onPlaces(listener: () => void): void
  /** Tells the others where this one listens. */
  listensAt(url: string): void
}

export const LOOPBACK = '127.0.0.1'

/** Workers have a port each: those behind the configured one, or any of the loopback interface. */
export function forWorker(options: ClusterPluginOptions): ClusterPluginOptions {
  const { siblings, enabled, port, url, tls: _, ...plain } = options
  if (siblings === undefined) return options
  if (!enabled) return { ...plain, enabled, secret: siblings.secret, host: LOOPBACK, port: 0, url: '' }
  const further = siblings.number - 1
  if (port === undefined || url === '') throw portsMissing()
  const own = new URL(url)
  own.port = String(Number(own.port) + further)
  return { ...options, port: port === 0 ? 0 : port + further, url: own.origin }
}
