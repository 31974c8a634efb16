import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { selfCommand } from '../self.ts'
import type { PlannedFile } from './plan.ts'
import { type Unit, unitText } from './unit.ts'

const NAME = 'ssh-websocket-tunnel'
const ETC = `/etc/${NAME}`
const SYSTEM_UNITS = '/etc/systemd/system'
/** What a proxy listens on, and whom it believes to stand in front, until somebody writes more into its file. */
const FIRST_SETTINGS = `${JSON.stringify(
  { server: { host: '127.0.0.1', port: 3001, trustProxy: ['127.0.0.1', '::1'] } },
  null,
  2,
)}\n`
/** A proxy lets its peers move and its streams end, and an agent ends at once, in s. */
const STOP_SECONDS = { server: 45, agent: 15 }

export interface Service {
  unitName: string
  files: PlannedFile[]
}

export interface ServerChoice {
  profile?: string | undefined
  /** An absolute path. */
  config?: string | undefined
}

export interface AgentChoice {
  machine: string
  urls: readonly string[]
  /** `--ssh`, `--allow` and others, handed on. */
  more: readonly string[]
  profile?: string | undefined
}

function service(
  kind: 'server' | 'agent',
  unit: Omit<Unit, 'stopSeconds' | 'reloads'>,
  folder = SYSTEM_UNITS,
): Service {
  const unitName = `${NAME}-${kind}.service`
  const content = unitText({ ...unit, stopSeconds: STOP_SECONDS[kind], reloads: kind === 'server' })
  return { unitName, files: [{ path: join(folder, unitName), content, mode: 0o644, isUnit: true }] }
}

/** The proxy for everybody: its secrets are root's, and the service is handed them when it starts. */
export function systemServer({ profile = 'production', config }: ServerChoice): Service {
  const settings = config ?? `${ETC}/server.json`
  const credentials = [
    { name: 'jwt', file: `${ETC}/jwt`, variable: 'TUNNEL_JWT_SECRET_FILE' },
    { name: 'master', file: `${ETC}/master`, variable: 'TUNNEL_MASTER_SECRET_FILE' },
  ]
  const { unitName, files } = service('server', {
    description: 'Proxy of ssh-websocket-tunnel',
    command: [...selfCommand(), 'server', '--profile', profile, '--config', settings],
    credentials,
    environment: { TUNNEL_STATE_DIR: `/var/lib/${NAME}-server` },
    account: 'tunnel-server',
    stateFolder: `${NAME}-server`,
  })
  const secrets = credentials.map(({ file: path }) => {
    // Another one would end every token and key made with the first.
    return { path, content: `${randomBytes(48).toString('base64')}\n`, mode: 0o600, keeps: true }
  })
  const first = { path: settings, content: FIRST_SETTINGS, mode: 0o644, keeps: true }
  return { unitName, files: [...secrets, ...(config === undefined ? [first] : []), ...files] }
}

/** The proxy as one person's own: with the secrets that it makes itself. */
export function userServer({ profile, config }: ServerChoice, folder: string): Service {
  const command = [...selfCommand(), 'server']
  if (profile !== undefined) command.push('--profile', profile)
  if (config !== undefined) command.push('--config', config)
  return service('server', { description: 'Proxy of ssh-websocket-tunnel', command }, folder)
}

function agentUnit({ machine, urls, more, profile }: AgentChoice): {
  description: string
  command: string[]
} {
  const command = [...selfCommand(), 'agent', '--machine', machine, ...more]
  for (const url of urls) command.push('--url', url)
  if (profile !== undefined) command.push('--profile', profile)
  return { description: `Agent of ssh-websocket-tunnel for the machine ${machine}`, command }
}

/** The agent as a service of the machine: with a copy of its token that is root's. */
export function systemAgent(choice: AgentChoice, token: string): Service {
  const file = `${ETC}/agent.token`
  const { unitName, files } = service('agent', {
    ...agentUnit(choice),
    credentials: [{ name: 'token', file, variable: 'TUNNEL_TOKEN_FILE' }],
    account: 'tunnel-agent',
    stateFolder: `${NAME}-agent`,
  })
  return { unitName, files: [{ path: file, content: `${token}\n`, mode: 0o600 }, ...files] }
}

/** The agent as one person's own: it reads that person's token where it is. */
export function userAgent(choice: AgentChoice, tokenFile: string | undefined, folder: string): Service {
  const environment = tokenFile === undefined ? {} : { TUNNEL_TOKEN_FILE: tokenFile }
  return service('agent', { ...agentUnit(choice), environment }, folder)
}
