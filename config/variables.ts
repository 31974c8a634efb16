/** The secrets that a proxy makes where none are given: each one's setting, and the variable that gives it. */
export const SECRETS = [
  { name: 'jwtSecret', path: 'auth.secret', variable: 'TUNNEL_JWT_SECRET' },
  { name: 'masterSecret', path: 'ssh.masterSecret', variable: 'TUNNEL_MASTER_SECRET' },
] as const

/** The secrets whose variables have a form that names a file: those, and those that no proxy can make for itself. */
const SECRETS_OF_FILES = [
  ...SECRETS,
  { path: 'cluster.secret', variable: 'TUNNEL_CLUSTER_SECRET' },
  { path: 'state.redisUrl', variable: 'TUNNEL_STATE_REDIS_URL' },
  { path: 'metrics.token', variable: 'TUNNEL_METRICS_TOKEN' },
] as const

/** `rateLimit.perIpPerMinute` is `TUNNEL_RATE_LIMIT_PER_IP_PER_MINUTE`. */
export function variableOf(path: readonly string[]): string {
  const words = path.map((name) => name.replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase())
  return `TUNNEL_${words.join('_')}`
}

/** Names of variables that are older or shorter than the rule gives, and their settings. */
export const SHORT_VARIABLES: ReadonlyMap<string, string> = new Map([
  ...SECRETS.map(({ path, variable }) => [variable, path] as const),
  ['TUNNEL_STATE_DIR', 'state.dir'],
  ['TUNNEL_CA', 'tls.ca'],
  ['TUNNEL_TRANSPORT', 'network.transport'],
])

/** Variables that name a file with the value in it, as container platforms mount secrets. */
export const FILE_VARIABLES: ReadonlyMap<string, string> = new Map(
  SECRETS_OF_FILES.map(({ path, variable }) => [`${variable}_FILE`, path] as const),
)

/** Variables of ours that are not settings. */
export const OTHER_VARIABLES: ReadonlySet<string> = new Set([
  'TUNNEL_URL',
  'TUNNEL_TOKEN',
  'TUNNEL_TOKEN_FILE',
  'TUNNEL_TOKEN_COMMAND',
  'TUNNEL_PROFILE',
  'TUNNEL_CONTEXT',
])

/** Whether a variable may hold a setting that a client follows. */
export function mayBeClientSetting(variable: string): boolean {
  const isKnown =
    SHORT_VARIABLES.has(variable) || FILE_VARIABLES.has(variable) || OTHER_VARIABLES.has(variable)
  return variable.startsWith('TUNNEL_') && !isKnown
}
