import type { WorkerMetrics } from '../../plugins/metrics/index.ts'

export interface Sibling {
  id: string
  /** `http://host:port` */
  url: string
}

/** From the supervisor to a worker. */
export type ToWorker =
  /** The answer to `here`. */
  | { is: 'you'; number: number; id: string; secret: string }
  /** Where the workers listen for links between replicas; again after each change. */
  | { is: 'places'; places: Sibling[] }
  | { is: 'stop'; signal: string }
  | { is: 'hurry' }
  | { is: 'reload' }
  | { is: 'debug' }
  | { is: 'tell-metrics'; id: number }
  /** Without them one of the workers did not tell its own in time. */
  | { is: 'all-metrics'; id: number; metrics: WorkerMetrics[] | undefined }

/** From a worker to the supervisor. */
export type ToSupervisor =
  /** It listens to its supervisor; what came before is lost. */
  | { is: 'here' }
  | { is: 'listens'; url: string }
  | { is: 'ask-metrics'; id: number }
  | { is: 'metrics'; id: number; metrics: WorkerMetrics[] }
