import { type ArgumentDefinition, type Definition, type OptionDefinition, optionsOf } from '../definition.ts'
import type { Entry } from './entries.ts'

/** 'tunnel-agent-enroll', as git names the pages of its commands. */
export function pageName(command: string): string {
  return `tunnel-${command.replaceAll(' ', '-')}`
}

const EXIT_STATUS = [
  ['0', 'success'],
  ['1', 'failure'],
  ['2', 'usage or configuration'],
  ['3', 'authentication'],
  ['4', 'not reachable'],
  ['5', 'refused by policy or limit'],
] as const

const VARIABLES = [
  [
    'TUNNEL_URL, TUNNEL_TOKEN, TUNNEL_TOKEN_FILE, TUNNEL_TOKEN_COMMAND, TUNNEL_CONTEXT, TUNNEL_PROFILE',
    'stand in for the options of these names.',
  ],
  ['TUNNEL_STATE_DIR', 'where a proxy keeps its state.'],
  ['NO_COLOR', 'no colours, whatever the terminal can do.'],
] as const

/** The page of one command. */
export function commandPage({ summary, definition }: Entry, version: string): string {
  const { name, examples, notes = [] } = definition
  return [
    title(pageName(name), version),
    '.SH NAME',
    `${roff(pageName(name))} \\- ${roff(summary)}`,
    '.SH SYNOPSIS',
    `.B tunnel ${roff(name)}`,
    roff(synopsisOf(definition)),
    '.SH DESCRIPTION',
    roff(definition.does),
    ...notes.flatMap((note) => ['.PP', roff(note)]),
    ...argumentsOf(definition),
    '.SH OPTIONS',
    ...optionsOf(definition).flatMap(option),
    ...['.TP', '\\fB\\-h\\fR, \\fB\\-\\-help\\fR', 'Shows a short form of this page.'],
    ...['.SH EXAMPLES', '.EX', ...examples.map((line) => roff(`$ ${line}`)), '.EE'],
    ...['.SH SEE ALSO', '.BR tunnel (1)', ''],
  ].join('\n')
}

/** The page of them all. */
export function overviewPage(entries: readonly Entry[], version: string): string {
  return [
    title('tunnel', version),
    '.SH NAME',
    'tunnel \\- stock ssh to machines behind NAT, through a proxy of your own',
    '.SH SYNOPSIS',
    '.B tunnel',
    '.I command',
    '[options] [arguments]',
    '.SH DESCRIPTION',
    roff('An agent on each machine dials out to a proxy, and clients connect to that proxy. '),
    roff('What ssh says to the machine is sealed: the proxy relays bytes that it cannot read.'),
    '.SH COMMANDS',
    ...entries.flatMap(({ summary, definition }) => [
      '.TP',
      `.BR ${pageName(definition.name).replaceAll('-', '\\-')} (1)`,
      roff(`${summary}.`),
    ]),
    '.SH ENVIRONMENT',
    ...VARIABLES.flatMap(([name, meaning]) => ['.TP', `.B ${roff(name)}`, roff(meaning)]),
    '.SH FILES',
    ...['.TP', roff('~/.config/ssh-websocket-tunnel/config.json'), roff('Contexts; see tunnel-use(1).')],
    '.SH EXIT STATUS',
    ...EXIT_STATUS.flatMap(([status, meaning]) => ['.TP', `.B ${status}`, roff(`${meaning}.`)]),
    roff('ssh and exec pass on the remote status, and 255 is their own failure.'),
    '',
  ].join('\n')
}

function title(name: string, version: string): string {
  return `.TH ${name.toUpperCase().replaceAll('-', '\\-')} 1 "" "ssh\\-websocket\\-tunnel ${version}" "User Commands"`
}

function synopsisOf({ usage, arguments: places = [] }: Definition): string {
  return usage ?? ['[options]', ...places.map(({ name }) => name)].join(' ')
}

function argumentsOf({ arguments: places = [] }: Definition): string[] {
  if (places.length === 0) return []
  return [
    '.SH ARGUMENTS',
    ...places.flatMap(({ name, does }: ArgumentDefinition) => ['.TP', `.I ${roff(name)}`, sentence(does)]),
  ]
}

function option({ flags, does, default: value }: OptionDefinition): string[] {
  const [names = '', placeholder = ''] = flags.split(/ (?=<)/)
  const bold = names
    .split(', ')
    .map((name) => `\\fB${roff(name)}\\fR`)
    .join(', ')
  const text = value === undefined ? does : `${does} (default: ${value})`
  return [
    '.TP',
    placeholder === '' ? bold : `${bold} \\fI${roff(placeholder.slice(1, -1))}\\fR`,
    sentence(text),
  ]
}

function sentence(text: string): string {
  return roff(`${text.charAt(0).toUpperCase()}${text.slice(1)}.`)
}

/** Text as roff shows it: no word of it is a request, and its dashes can be copied. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('…', '...')
    .replaceAll('“', '\\(lq')
    .replaceAll('”', '\\(rq')
    .replaceAll(/^\./gm, '\\&.')
}
