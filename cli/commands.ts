import { nearest } from '../protocol/nearest.ts'
import type { CommandModule } from './command.ts'

interface Entry {
  summary: string
  load: () => Promise<CommandModule>
}

/** Every command, once; loaded when it is asked for. */
export const COMMANDS = {
  server: { summary: 'start the proxy', load: () => import('./commands/server.ts') },
  agent: { summary: 'put this machine on line', load: () => import('./commands/agent.ts') },
  'agent enroll': {
    summary: 'get the token of this machine for a one-time code',
    load: () => import('./commands/agent-enroll.ts'),
  },
  ssh: { summary: 'the stock ssh, to a machine behind the proxy', load: () => import('./commands/ssh.ts') },
  'ssh-config': {
    summary: 'let plain ssh, scp, git and editors go through the tunnel',
    load: () => import('./commands/ssh-config.ts'),
  },
  stdio: {
    summary: "bytes to a machine's sshd, for ssh's ProxyCommand",
    load: () => import('./commands/stdio.ts'),
  },
  forward: { summary: 'a local port to a service on a machine', load: () => import('./commands/forward.ts') },
  socks: { summary: 'a SOCKS proxy that leads out at a machine', load: () => import('./commands/socks.ts') },
  request: {
    summary: 'one HTTP request to a service on a machine',
    load: () => import('./commands/request.ts'),
  },
  open: {
    summary: "the address of a machine's service, for a browser",
    load: () => import('./commands/open.ts'),
  },
  exec: { summary: 'one command on a machine', load: () => import('./commands/exec.ts') },
  shell: {
    summary: 'a prompt on a machine, by the key that the proxy has for you',
    load: () => import('./commands/shell.ts'),
  },
  cp: { summary: 'copy files to and from a machine', load: () => import('./commands/cp.ts') },
  up: { summary: 'keep a link that the other commands share', load: () => import('./commands/up.ts') },
  down: { summary: 'end the link that `tunnel up` keeps', load: () => import('./commands/down.ts') },
  machines: { summary: 'what is on line', load: () => import('./commands/machines.ts') },
  status: {
    summary: 'the state of the proxy, and of the link that `tunnel up` keeps',
    load: () => import('./commands/status.ts'),
  },
  sessions: { summary: 'the streams that are open', load: () => import('./commands/sessions.ts') },
  'sessions end': { summary: 'end one of them', load: () => import('./commands/sessions-end.ts') },
  'sessions watch': {
    summary: 'watch one of them',
    load: () => import('./commands/sessions-watch.ts'),
  },
  diagnose: {
    summary: 'test every hop, and name the first that fails',
    load: () => import('./commands/diagnose.ts'),
  },
  token: { summary: "sign a token with this server's secret", load: () => import('./commands/token.ts') },
  login: { summary: "log in at the proxy's issuer, in a browser", load: () => import('./commands/login.ts') },
  logout: { summary: 'end a login', load: () => import('./commands/logout.ts') },
  key: { summary: 'the public SSH key that the proxy uses for you', load: () => import('./commands/key.ts') },
  'audit verify': {
    summary: 'check that an audit trail is as the proxy wrote it',
    load: () => import('./commands/audit-verify.ts'),
  },
  install: {
    summary: 'keep a proxy or an agent running, as a systemd unit',
    load: () => import('./commands/install.ts'),
  },
  use: {
    summary: 'choose among proxies, and keep how each is reached',
    load: () => import('./commands/use.ts'),
  },
  config: { summary: 'the settings, and where each came from', load: () => import('./commands/config.ts') },
  completion: {
    summary: 'completion for bash, zsh and fish',
    load: () => import('./commands/completion.ts'),
  },
  demo: {
    summary: 'the whole job on this machine, cut and resumed',
    load: () => import('./commands/demo.ts'),
  },
} as const satisfies Record<string, Entry>

export type CommandName = keyof typeof COMMANDS

/** Other names of commands. */
export const ALIASES: ReadonlyMap<string, CommandName> = new Map([
  ['ls', 'machines'],
  ['list', 'machines'],
])

/** The command that a line begins with, and what follows its name; some names have two words. */
export function commandOf(words: readonly string[]): { command: CommandName | undefined; rest: string[] } {
  const two = words.slice(0, 2).join(' ')
  if (words.length > 1 && isCommandName(two)) return { command: two, rest: words.slice(2) }
  const [first = ''] = words
  return { command: isCommandName(first) ? first : ALIASES.get(first), rest: words.slice(1) }
}

/** What is wrong with a line that is nearly a command of two words, or only the first word of one. */
export function mistypedPair(words: readonly string[]): string | undefined {
  const [first = '', second = ''] = words
  const seconds = Object.keys(COMMANDS).flatMap((name) =>
    name.startsWith(`${first} `) ? name.slice(first.length + 1) : [],
  )
  if (seconds.includes(second)) return undefined
  const word = second.startsWith('-') ? '' : second
  const meant = nearest(word, seconds) ?? (isCommandName(first) ? undefined : seconds[0])
  return meant && `unknown command "${`${first} ${word}`.trim()}"; did you mean ${first} ${meant}?`
}

function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name)
}
