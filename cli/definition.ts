// Data alone, so that `tunnel stdio` starts without commander: help, completion and man pages are all made from it.

/** What may stand in a place of the command line, for completion: these words, or one of a kind; a place is a file here or `MACHINE:`. */
export type Values = readonly string[] | 'machine' | 'profile' | 'context' | 'setting' | 'file' | 'place'

export interface OptionDefinition {
  /** As help shows it: '-X, --request <method>'. */
  flags: string
  does: string
  /** Shown in help, and what holds where the option is not given. */
  default?: string
  /** It may be given again. */
  repeats?: boolean
  values?: Values
}

export interface ArgumentDefinition {
  /** '<needed>', '[optional]', or with '...' before the bracket's end as many as there are. */
  name: string
  does: string
  values?: Values
}

/** A command as help, completion and man page tell it; `COMMANDS` has its summary. */
export interface Definition {
  name: string
  /**
   * What follows the name: '[options] MACHINE -- COMMAND…'.
   * @default '[options]' and the arguments
   */
  usage?: string
  does: string
  /** Lines to copy; at least one. */
  examples: readonly string[]
  /** What else there is to know, as paragraphs whose lines have 80 columns at most. */
  notes?: readonly string[]
  /**
   * Whether the command talks to a proxy, and so takes --url, --token, --context, --profile, --ca and --transport.
   * @default true
   */
  reaches?: boolean
  arguments?: readonly ArgumentDefinition[]
  options?: readonly OptionDefinition[]
  /** What follows the first argument is another program's, options included. */
  passesThrough?: boolean
  /** Options of the program that is run, which may stand before the first argument. */
  passedOn?: PassedOn
}

/** Options of one letter each, which may share a dash: `-vp 22`. */
export interface PassedOn {
  /** Those that take a value, of which a file is one kind, and those that take none. */
  valued: string
  files: string
  plain: string
}

export const PROFILE_OPTION = {
  flags: '--profile <name>',
  does: 'configuration profile (or TUNNEL_PROFILE)',
  values: 'profile',
} as const satisfies OptionDefinition

/** A setting's two ways in, for commands that read settings. */
export const SETTINGS_OPTIONS = [
  { flags: '--config <file>', does: 'settings as a JSON file', values: 'file' },
  { flags: '--set <a.b=value>', does: 'one setting; may be given again', repeats: true },
] as const satisfies readonly OptionDefinition[]

/** What may carry a link. */
export const TRANSPORTS = ['auto', 'websocket', 'http'] as const

/** By which way a proxy is reached. */
export const REACH_OPTIONS = [
  {
    flags: '--ca <file>',
    does: "authorities that may have signed the proxy's certificate, in place of the public ones (or TUNNEL_CA)",
    values: 'file',
  },
  {
    flags: '--transport <name>',
    does: 'way to the proxy: auto, websocket or http; auto is a WebSocket, or HTTP streaming where none gets through (or TUNNEL_TRANSPORT; default: auto)',
    values: TRANSPORTS,
  },
] as const satisfies readonly OptionDefinition[]

/** How a proxy is reached. */
export const ACCESS_OPTIONS = [
  {
    flags: '--url <url>',
    does: 'address of the proxy (or TUNNEL_URL); again for each further replica',
    repeats: true,
  },
  {
    flags: '--token <token>',
    does: 'access token (or TUNNEL_TOKEN, TUNNEL_TOKEN_FILE, TUNNEL_TOKEN_COMMAND)',
  },
  {
    flags: '--context <name>',
    does: 'address and token as `tunnel use` keeps them (or TUNNEL_CONTEXT)',
    values: 'context',
  },
  PROFILE_OPTION,
  ...REACH_OPTIONS,
] as const satisfies readonly OptionDefinition[]

/** What all commands have. */
export const OUTPUT_OPTIONS = [
  { flags: '--json', does: 'machine-readable output and errors' },
  { flags: '--verbose', does: 'show the causes of an error' },
] as const satisfies readonly OptionDefinition[]

/** Every option of a command but --help, in the order of its help. */
export function optionsOf({ options = [], reaches = true }: Definition): OptionDefinition[] {
  return [...options, ...(reaches ? ACCESS_OPTIONS : []), ...OUTPUT_OPTIONS]
}

/** An option's names without their dashes, and what its value is called, if it takes one. */
export function namesOf({ flags }: OptionDefinition): { short?: string; long: string; value?: string } {
  const [, short, long = '', value] = /^(?:-(\w), )?--([\w-]+)(?: <(.+)>)?$/.exec(flags) ?? []
  return { long, ...(short !== undefined && { short }), ...(value !== undefined && { value }) }
}
