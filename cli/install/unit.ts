import { createHash } from 'node:crypto'

export interface Unit {
  description: string
  /** The program and its arguments. */
  command: readonly string[]
  /** Files that the service may read while only root can: name, and where each is. The command sees them by variables. */
  credentials?: readonly { name: string; file: string; variable: string }[]
  /** Variables besides. */
  environment?: Readonly<Record<string, string>>
  /** The service's own account, for a unit of the whole system. */
  account?: string
  /** A folder below /var/lib that is this account's. */
  stateFolder?: string
  /** How long it may take to stop, in s. */
  stopSeconds: number
  /** It reads its settings again at a hang-up. */
  reloads: boolean
}

const MARK =
  /^# Written by `tunnel install`\. Its own changes go to `systemctl[^`]*`\.\n# sha256 ([0-9a-f]{64})\n/

/** What every service of ours does without. */
const RESTRICTIONS = [
  'NoNewPrivileges=yes',
  'LockPersonality=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'SystemCallArchitectures=native',
  'UMask=0077',
]

/** What the manager of the whole system can take away besides. V8 compiles, so memory may be made executable. */
const SYSTEM_RESTRICTIONS = [
  'ProtectSystem=strict',
  'ProtectHome=yes',
  'PrivateTmp=yes',
  'PrivateDevices=yes',
  'ProtectClock=yes',
  'ProtectControlGroups=yes',
  'ProtectHostname=yes',
  'ProtectKernelLogs=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelTunables=yes',
  'ProtectProc=invisible',
  'RemoveIPC=yes',
  'RestrictNamespaces=yes',
  // The last for the list of network interfaces.
  'RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK',
  'SystemCallFilter=@system-service',
  'SystemCallFilter=~@privileged @resources',
  'SystemCallErrorNumber=EPERM',
  'CapabilityBoundingSet=',
]

/** The text of a unit, with a mark by which it is known again. */
export function unitText(unit: Unit): string {
  const { account, stateFolder, credentials = [], environment = {} } = unit
  const isSystem = account !== undefined
  const given = Object.entries(environment).map(([name, value]) => `Environment=${word(`${name}=${value}`)}`)
  const lines = [
    '[Unit]',
    `Description=${unit.description}`,
    'Documentation=man:tunnel(1)',
    ...(isSystem ? ['Wants=network-online.target', 'After=network-online.target'] : []),
    '',
    '[Service]',
    `ExecStart=${commandLine(unit)}`,
    ...(unit.reloads ? ['ExecReload=/bin/kill -HUP $MAINPID'] : []),
    ...given,
    ...credentials.map(({ name, file }) => `LoadCredential=${name}:${file.replaceAll('%', '%%')}`),
    // What cannot be mended by trying again: usage, authentication, refused.
    'Restart=on-failure',
    'RestartSec=5',
    'RestartPreventExitStatus=2 3 5',
    `TimeoutStopSec=${unit.stopSeconds}`,
    'LimitNOFILE=65536',
    ...(isSystem ? ['DynamicUser=yes', `User=${account}`] : []),
    ...(stateFolder === undefined ? [] : [`StateDirectory=${stateFolder}`, 'StateDirectoryMode=0700']),
    ...RESTRICTIONS,
    ...(isSystem ? SYSTEM_RESTRICTIONS : []),
    '',
    '[Install]',
    `WantedBy=${isSystem ? 'multi-user.target' : 'default.target'}`,
    '',
  ]
  const body = lines.join('\n')
  const edit = isSystem ? 'systemctl edit' : 'systemctl --user edit'
  return `# Written by \`tunnel install\`. Its own changes go to \`${edit}\`.\n# sha256 ${sha256(body)}\n${body}`
}

/** Whether a unit is as `unitText` made it, so that nothing of anybody else's is lost with it. */
export function isOurs(text: string): boolean {
  const found = MARK.exec(text)
  return found !== null && found[1] === sha256(text.slice(found[0].length))
}

/** systemd says by a variable where the credentials are, and puts it into the line alone. */
function commandLine({ command, credentials = [] }: Unit): string {
  const words = command.map(word)
  if (credentials.length === 0) return words.join(' ')
  const variables = credentials.map(({ name, variable }) => `"${variable}=\${CREDENTIALS_DIRECTORY}/${name}"`)
  return ['/usr/bin/env', ...variables, ...words].join(' ')
}

/** One word as systemd reads it: neither its specifiers nor variables. */
function word(text: string): string {
  const plain = text.replaceAll('%', '%%').replaceAll('$', '$$$$')
  return /^[\w@+:,./=%$-]+$/.test(plain) ? plain : `"${plain.replaceAll(/["\\]/g, '\\$&')}"`
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
