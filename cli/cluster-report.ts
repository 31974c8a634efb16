import { spanText } from '../client/diagnostics/spans.ts'
import type { ClusterReport, HomesReport, ReplicaReport } from '../plugins/cluster/report.ts'
import { visible } from './output.ts'
import { table } from './table.ts'

/** What `GET cluster` answers. */
export type ClusterAnswer = ({ enabled: true } & ClusterReport) | { enabled: false }

/** An older proxy does not say what is missing. */
type ReadFrom = Omit<ClusterReport, 'missing' | 'isStarting'> &
  Partial<Pick<ClusterReport, 'missing' | 'isStarting'>>

/** Who holds whom, for a person: the replicas with their links to each other, then the machines with their homes. */
export function clusterText({
  id,
  isWorker,
  stateAvailable,
  replicas,
  machines,
  machineCount,
  missing = [],
  isStarting = false,
}: ReadFrom): string {
  const asked = isWorker ? `worker ${id} answers; another one may the next time` : `replica ${id} answers`
  const more = machineCount - machines.length
  const machineText =
    machines.length === 0
      ? 'no machine is on line\n'
      : table([['MACHINE', 'AT', 'FROM HERE BY', 'EPOCH'], ...machines.map(machineRow)])
  return [
    `${visible(asked)}; Redis ${stateAvailable ? 'answers it' : 'DOES NOT ANSWER it'}\n`,
    table([
      ['REPLICA', 'STATE', 'STREAMS', 'MACHINES', 'ROUND TRIP', 'LINKS TO'],
      ...replicas.map((replica) => replicaRow(replica, id, replicas, machines, more > 0)),
    ]),
    ...(isStarting ? ['it has only started, and is not linked to all others yet\n'] : []),
    ...missing.map((other) => `${visible(other)} is known, and NOT LINKED to this one\n`),
    ...replicas.flatMap(clockText),
    '\n',
    machineText,
    ...(more > 0 ? [`and ${more} more\n`] : []),
  ].join('')
}

function replicaRow(
  { id, draining, load, rttMs, peers }: ReplicaReport,
  asked: string,
  replicas: readonly ReplicaReport[],
  machines: readonly HomesReport[],
  isCut: boolean,
): string[] {
  const held = machines.filter(({ homes }) => homes.includes(id)).length
  const others = replicas.filter((other) => other.id !== id)
  const missing = others.filter((other) => peers?.includes(other.id) === false)
  const links = peers === undefined ? '?' : peers.join(' ') || '-'
  return [
    id,
    draining ? 'LEAVING' : 'there',
    `${load}`,
    isCut ? `${held} or more` : `${held}`,
    id === asked ? '-' : rttMs === undefined ? '?' : `${Math.max(1, Math.round(rttMs))} ms`,
    missing.length === 0 ? links : `${links}; NONE TO ${missing.map((other) => other.id).join(' ')}`,
  ]
}

function clockText({ id, clockAheadMs: aheadMs }: ReplicaReport): string[] {
  if (aheadMs === undefined) return []
  const where = aheadMs > 0 ? 'AHEAD OF' : 'BEHIND'
  return [`the clock of ${visible(id)} is ${spanText(Math.abs(aheadMs))} ${where} this one: set both\n`]
}

function machineRow({ owner, name, homes, route, via, epoch }: HomesReport): string[] {
  const way = via === undefined ? route : `${route} through ${via}`
  return [`${owner}/${name}`, homes.join(' '), way, epoch === 0 ? '-' : `${epoch}`]
}
