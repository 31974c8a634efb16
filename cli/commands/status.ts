import type { ClientSettings } from '../../client/index.ts'
import { addressOf } from '../../dial/addresses.ts'
import { askToken } from '../../dial/token.ts'
import { ask, askMachines, fetchOpen, gapText } from '../api.ts'
import { type ClusterAnswer, clusterText } from '../cluster-report.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Access, accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { detourFile } from '../detour-file.ts'
import { EXIT } from '../failure.ts'
import { age, duration } from '../output.ts'
import { tell } from '../prose.ts'
import { clientSettings } from '../reach.ts'
import { postQuantumKex, type TlsFacts, tlsOf } from '../tls.ts'
import { askHubStatus, type HubStatus } from '../warm/hub-status.ts'
import { socketPath } from '../warm/place.ts'
import { warn } from '../warning.ts'
import { machineTable } from './machines.ts'

interface Health {
  status: string
  uptimeSeconds: number
  checks?: Record<string, unknown>
}

export const definition: Definition = {
  name: 'status',
  does: [
    'Shows the state of the proxy, the link that `tunnel up` keeps and what goes over it, which of your machines are on',
    'line, and how many streams go there or wait for one to come back. The exit status is 1 if the proxy is not ready.',
  ].join(' '),
  examples: [
    'tunnel status',
    'tunnel status --url https://tunnel.example.com --json',
    'tunnel status --cluster',
  ],
  options: [
    {
      flags: '--cluster',
      does: 'the replicas, their links, and which machine is at which of them; needs the role admin',
    },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { cluster?: boolean }>()
  const access = accessFrom(options)
  if (options.cluster === true) return await showCluster(access, options.json === true)
  // 503 is an answer here, and its body says which check failed.
  const response = await fetchOpen(access, 'health/ready')
  // Where something else answers, the next question says so.
  const ready = (await response.json().catch(() => ({}))) as Partial<Health>
  const machines = await askMachines(access)
  const tls = await tlsOf(access.urls[0] ?? '')
  const status = response.ok ? EXIT.ok : EXIT.failure
  const settings = await clientSettings(access)
  const transport = transportOf(access.urls[0], settings.network.transport)
  const up = await askHubStatus(socketPath(access.urls[0], await askToken(access.token)))
  if (options.json === true) {
    process.stdout.write(
      `${JSON.stringify({ url: access.urls[0], transport, up: up ?? null, tls: tls ?? null, ready: response.ok, health: ready, machines }, null, 2)}\n`,
    )
    return status
  }
  if (transport === 'http')
    tell(
      `links go by HTTP streaming${settings.network.transport === 'auto' ? ': WebSocket does not pass here' : ''}\n`,
    )
  const checks = Object.entries(ready.checks ?? {}).map(([name, value]) => `${name} ${checkText(value)}`)
  const state = response.ok ? 'ready' : `NOT READY (${ready.status})`
  tell(`proxy ${access.urls[0]}: ${state}, up ${duration((ready.uptimeSeconds ?? 0) * 1_000)}\n`)
  if (checks.length > 0) tell(`checks: ${checks.join(', ')}\n`)
  tell(`${upText(up)}${tlsText(tls)}${sealedText()}\n${machineTable(machines)}`)
  return status
}

async function showCluster(access: Access, json: boolean): Promise<number> {
  const answer = await ask<ClusterAnswer>(access, 'cluster')
  const { replicas, missing = [] } = answer.enabled ? answer : { replicas: [] }
  const gap = gapText(missing, replicas.length + missing.length)
  if (gap !== undefined) warn('REPLICA_MISSING', gap)
  const text = answer.enabled
    ? clusterText(answer)
    : `proxy ${access.urls[0]} is the only one: cluster.enabled is false there\n`
  if (json) process.stdout.write(`${JSON.stringify(answer, null, 2)}\n`)
  else tell(text)
  return answer.enabled ? EXIT.ok : EXIT.failure
}

/** By what the next link goes, as far as is known. */
function transportOf(url: string, choice: ClientSettings['network']['transport']): 'websocket' | 'http' {
  if (choice !== 'auto') return choice
  return detourFile().has(addressOf(url).link) ? 'http' : 'websocket'
}

/** The link that this person's commands share. */
function upText(up: HubStatus | undefined): string {
  if (up === undefined) return 'tunnel up: no; each command has a link of its own\n'
  const { state, since, transport, rttMs, quality, programs, streams } = up
  const way = transport === 'http' ? 'HTTP streaming' : 'WebSocket'
  const trip = rttMs === null ? '' : `, round trip ${Math.max(1, Math.round(rttMs))} ms`
  const link =
    state === 'connected'
      ? `connected by ${way} for ${age(since)}${trip}, ${quality}`
      : `LINK LOST ${age(since)} ago, dialling`
  return `tunnel up: ${link}; ${counted(programs, 'program')}, ${counted(streams, 'stream')}\n`
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

function tlsText(tls: TlsFacts | undefined): string {
  return tls === undefined ? '' : `TLS to the proxy: ${tls.version}, keys by ${tls.group}, ${tls.cipher}\n`
}

/** The proxy relays a sealed stream and cannot know what its ends agree on; this one's half is known. */
function sealedText(): string {
  const kex = postQuantumKex()
  if (kex === undefined) return ''
  const here =
    kex.length === 0
      ? 'not post-quantum: this ssh has no such key exchange'
      : `post-quantum (${kex[0]}) where the machine's sshd has it too`
  return `sealed streams: keys are agreed on between your ssh and the machine's sshd, ${here}\n`
}

export function checkText(check: unknown): string {
  const { status, detail, ...more } = (check ?? {}) as Record<string, unknown>
  if (typeof status !== 'string' || Object.keys(more).length > 0) return JSON.stringify(check)
  return typeof detail === 'string' ? `${status} (${detail})` : status
}
