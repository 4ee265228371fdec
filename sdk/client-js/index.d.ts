// The types of the library. Objects of the protocol have the names and fields that the protocol gives them.

/** Keeps strings by key, synchronously. */
export interface Storage {
  get(key: string): string | null;
  set(key: string, value: string): void;
  remove(key: string): void;
  keys(): string[];
}

/** Keeps things for as long as the process lives. */
export function memoryStorage(): Storage;

/** Keeps things in `localStorage` or `sessionStorage`, under keys that begin with `prefix`. */
export function webStorage(storage: globalThis.Storage, prefix: string): Storage;

/** A UUID of version 7; those of one process rise. */
export function clientId(now?: number): string;

export interface User {
  id: string;
  name: string;
  display_name?: string | null;
  avatar?: string | null;
  bot?: boolean;
  time_zone?: string | null;
  joined_at: number;
  /** Of oneself alone: what others are shown. */
  privacy?: { presence: "everyone" | "contacts" | "nobody"; receipts: boolean } | null;
}

/** How a profile is to change: what is absent stays, `null` clears. */
export interface ProfileChange {
  display_name?: string | null;
  avatar?: string | null;
  /** IANA name, such as `Europe/London`. */
  time_zone?: string | null;
  privacy?: Partial<NonNullable<User["privacy"]>>;
}

export interface Presence {
  user: string;
  online: boolean;
  /** Until when they were here, in milliseconds since the Unix epoch; not of who is not shown. */
  last_seen?: number | null;
}

export interface Message {
  conversation: string;
  seq: number;
  sender: string;
  client_id?: string | null;
  sent_at: number;
  kind: "text" | "image" | "file" | "video" | "audio" | "system" | "encrypted";
  body: string;
  reply_to?: number | null;
  thread?: number | null;
  mentions?: string[] | null;
  /** The last revision that it shows. */
  rev?: number | null;
  edited_at?: number | null;
  /** Deleted for everyone: it keeps its place and shows nothing. */
  deleted?: boolean;
  /** How many react with what. */
  reactions?: Record<string, number> | null;
  /** With what this person does. */
  my_reactions?: string[] | null;
  via?: string | null;
  /** To be shown without an alert. */
  quiet?: boolean;
}

export interface Conversation {
  id: string;
  kind: "direct" | "group" | "channel";
  title?: string | null;
  peer?: User | null;
  members?: string[] | null;
  member_count: number;
  role: "owner" | "admin" | "member" | "reader";
  last_seq: number;
  last_rev: number;
  last_message?: Message | null;
  read_seq: number;
  received_seq: number;
  unread: number;
  peer_read_seq?: number | null;
  peer_received_seq?: number | null;
  muted_until?: number | null;
  label?: string | null;
  pinned: boolean;
  archived: boolean;
  updated_at: number;
}

/** How somebody stands to this person. */
export interface Contact {
  user: User;
  /** `requested` by this person, `asked` by the other. */
  state: "requested" | "asked" | "friend" | "blocked" | "none";
  since: number;
}

/** What a person sets for themselves in a conversation: `null` clears, what is left out stays. */
export interface Settings {
  muted_until?: number | null;
  label?: string | null;
  pinned?: boolean;
  archived?: boolean;
}

/** `null` clears, what is left out stays. */
export interface ConversationChanges {
  title?: string | null;
  avatar?: string | null;
  open?: boolean;
  history?: "all" | "since_join";
  posting?: "members" | "admins";
  slow_mode_s?: number | null;
}

export interface InviteLink {
  /** What `join` is given. */
  code: string;
  by: string;
  created_at: number;
  expires_at?: number | null;
}

export interface Member {
  user: string;
  role: Conversation["role"];
  joined_at: number;
}

export interface Receipt {
  conversation: string;
  user: string;
  received_seq: number;
  read_seq: number;
}

export interface Revision {
  conversation: string;
  rev: number;
  at_seq: number;
  by: string;
  at: number;
  join?: { user: string; role: Conversation["role"] };
}

export interface Hello {
  protocol: number;
  server: string;
  ping_interval_ms: number;
  max_frame_bytes: number;
  max_body_bytes: number;
  max_in_flight: number;
  max_users_per_request: number;
  follow_above: number;
  vapid_key?: string | null;
  features: string[];
}

export interface ErrorBody {
  code: string;
  message: string;
  temporary?: boolean;
  retry_after_ms?: number | null;
  field?: string | null;
}

/** Why a request failed: a code of the protocol, or `connection_lost` or `busy`, both temporary. */
export class RequestError extends Error {
  constructor(error: ErrorBody);
  readonly code: string;
  readonly temporary: boolean;
  readonly retryAfterMs: number;
  /** What was wrong; of `moderated`, the plugin's own code. */
  readonly field: string | null;
}

export interface AuthOptions {
  /** The server's address, such as `https://chat.example.com`. */
  server: string;
  /** Where the tokens are kept; in memory by default. */
  storage?: Storage;
  fetch?: typeof fetch;
  now?: () => number;
}

/** The login of one person. */
export class Auth {
  constructor(options: AuthOptions);
  /** Who is logged in. */
  readonly user: User | null;
  /** Makes an account and logs in. */
  register(account: { name: string; password: string; displayName?: string }): Promise<User>;
  /** Logs in. */
  login(credentials: { name: string; password: string }): Promise<User>;
  /** An access token that is good now; `refused` is not given out again. */
  token(refused?: string | null): Promise<string>;
  /** Renews the tokens, unless the kept one is another than `stale` already. */
  refresh(stale?: string): Promise<unknown>;
  /** Ends the login on the host and forgets it here, even where the host cannot be reached. */
  logout(): Promise<void>;
  /** Ends the renewing in the background; the login stays kept. */
  close(): void;
}

/** A message on its way out. */
export interface Entry extends Draft {
  client_id: string;
  /** When it was written. */
  at: number;
  /** The newest number that was here then: where it stands among the messages. */
  seen_seq: number;
  state: "waiting" | "sending" | "held" | "refused";
  /** Of a held one: why, and when it is refused unless somebody released it. */
  held?: { reason: string; until: number };
  /** Why, of a refused one. */
  error?: { code: string; message: string; field: string | null };
}

/** A slash command that a plugin serves. */
export interface Command {
  plugin: string;
  /** What is typed after the slash. */
  name: string;
  help: string;
  arguments: CommandArgument[];
}

/** What a slash command takes. */
export interface CommandArgument {
  name: string;
  type: "text" | "integer" | "number" | "user" | "duration" | "choice";
  required: boolean;
  help: string;
  /** Of a choice. */
  choices?: string[];
}

/** What a slash command answers to who gave it, and to nobody else. */
export interface CommandReply {
  kind: string;
  body: string;
  mentions?: string[];
}

/** What to send: to a conversation or to a user. */
export interface Draft {
  conversation?: string;
  to?: string;
  body: string;
  kind?: Message["kind"];
  reply_to?: number;
  thread?: number;
  mentions?: string[];
  expires_in_s?: number;
}

/** A way to the host. */
export type Transport = "websocket" | "sse" | "poll";

export type State = "idle" | "connecting" | "connected" | "waiting" | "stopped";

export interface StateChange {
  state: State;
  /** The close code of the socket, where there was one. */
  code?: number;
  reason?: string;
  /** What failed, where it was a request. */
  error?: RequestError;
  /** When it tries again, in milliseconds since the Unix epoch, in the state `waiting`. */
  retryAt?: number;
}

export interface Events {
  state: StateChange;
  /** A conversation is new or changed. */
  conversation: Conversation;
  /** A message, each once, in each conversation in order and without holes. */
  message: Message;
  /** The messages of this conversation, as `messages` returns them, changed. */
  timeline: string;
  /** Someone's marks moved. */
  receipt: Receipt;
  revision: Revision;
  /** How somebody stands to this person changed. */
  contact: Contact;
  /** A person became known, or changed. */
  user: User;
  /** Someone who is watched came or went. */
  presence: Presence;
  /** Who is writing in this conversation, as `typists` returns them, changed. */
  typing: string;
  /** An entry of the outbox came, changed or went. */
  outbox: Entry;
  /** An entry was accepted. */
  sent: { entry: Entry; message: Message };
  /** An entry was refused; it stays in the outbox until it is discarded. */
  refused: Entry;
  /** The host's store is another one: all that was known is forgotten. */
  reset: undefined;
}

export interface ClientOptions {
  /** The server's address, such as `https://chat.example.com`. */
  server: string;
  /** An `Auth`, or whatever has tokens: one that was `refused` must not come again. */
  auth: { token(refused: string | null): Promise<string> };
  /** Where the outbox is kept: one per person. In memory by default. */
  storage?: Storage;
  /** How this device is called. */
  device?: { name?: string; platform?: string };
  /** The class to use where the platform has none. Without one, the client does with HTTP. */
  WebSocket?: unknown;
  fetch?: typeof fetch;
  /**
   * The way to the host: `auto` by default, a WebSocket where one gets through, else server-sent events, and long poll
   * where streams are kept back.
   */
  transport?: "auto" | Transport;
  /** Delays between attempts: the first bound and the last. */
  backoff?: { baseMs?: number; maxMs?: number; random?: () => number };
  /** Silence, while an answer is due, after which a socket counts as dead. */
  timeoutMs?: number;
  /** After how long, at most, a client that had to do without a WebSocket tries one again. */
  upgradeMs?: number;
  /** How long a missing number may be overtaken before it is fetched. */
  gapMs?: number;
  /** How many messages of a conversation stay in memory. */
  keepMessages?: number;
}

/** A person's connection to the host. */
export class Client {
  constructor(options: ClientOptions);
  readonly state: State;
  readonly hello: Hello | null;
  /** The way of the session; `null` while there is none. */
  readonly transport: Transport | null;
  readonly user: User | null;
  readonly conversations: ReadonlyMap<string, Conversation>;
  readonly users: ReadonlyMap<string, User>;
  /** How others stand to this person; those who do not at all are not among them. */
  readonly contacts: ReadonlyMap<string, Contact>;
  /** The conversations, newest first. */
  readonly list: Conversation[];
  /** Messages that are not settled, in the order of writing. */
  readonly outbox: Entry[];
  readonly hasMoreConversations: boolean;

  /** Calls `listener` with each event of that name, until the returned function is called. */
  on<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): () => void;
  /** Pushes as they come: also those of later versions of the protocol. */
  on(name: `push:${string}`, listener: (value: any) => void): () => void;

  /** Connects, and stays connected until `stop`. */
  start(): void;
  /** Disconnects; the outbox is kept. */
  stop(): void;
  /** Tries at once, and finds out if the socket is dead: for when the network came back or someone looks. */
  wake(): void;

  /** Makes any request of the protocol. */
  request(name: string, payload?: object): Promise<any>;

  /** Sends a message: kept when it returns, settled with the definite answer. */
  send(draft: Draft): Promise<Message>;
  /** Gives an own message another text. */
  edit(conversation: string, seq: number, body: string): Promise<{ rev: number }>;
  /** Deletes a message for everyone, or with `me` for this person alone. */
  delete(conversation: string, seq: number, whom?: "everyone" | "me"): Promise<{ rev?: number; hidden?: number }>;
  /** Reacts to a message, or no longer does. */
  react(conversation: string, seq: number, emoji: string, on?: boolean): Promise<{ rev: number }>;
  /** Changes what this person set for themselves in a conversation. */
  set(conversation: string, settings: Settings): Promise<Conversation>;
  /** Goes from a group. */
  leave(conversation: string): Promise<{ rev: number }>;
  /** Forgets a refused message. */
  discard(clientId: string): boolean;

  /** The messages of a conversation that are here, in order. */
  messages(conversation: string): Message[];
  /** Loads a page of older ones. */
  older(conversation: string, limit?: number): Promise<void>;
  /** Whether all of it, back to the first message, is here. */
  isComplete(conversation: string): boolean;
  /** It is open in front of a person: its messages come live, however many are in. Kept over reconnecting. */
  follow(conversation: string): void;
  /** It no longer is. */
  unfollow(conversation: string): void;
  /** Whether a person is looking at all, which drives notifications; so from the start. */
  setActive(active: boolean): void;
  /** A person has seen what is here. */
  read(conversation: string): void;
  /** What became of an own message. */
  status(message: Message): "sent" | "delivered" | "read";

  /** The conversation of that id, asked for if it is not known. */
  conversation(id: string): Promise<Conversation>;
  /** The conversation with that person, made if it is missing. */
  direct(user: string): Promise<Conversation>;
  createGroup(group: { title: string; members: string[]; client_id?: string }): Promise<Conversation>;
  /** Makes a channel: its admins post, everyone else reads. */
  createChannel(channel: { title: string; open?: boolean; members?: string[]; client_id?: string }): Promise<Conversation>;
  /** A page of the conversations that anyone may join. */
  discover(asked?: { query?: string; page?: string }): Promise<{ conversations: Conversation[]; next?: string | null }>;
  /** Comes into an open conversation, or by a link. */
  join(where: string | { code: string }): Promise<{ rev: number }>;
  update(conversation: string, changes: ConversationChanges): Promise<{ rev: number }>;
  /** Makes a link into a conversation; with `expires_in_s` it ends by itself. */
  link(conversation: string, options?: { expires_in_s?: number }): Promise<InviteLink>;
  invite(conversation: string, users: string[]): Promise<Conversation>;
  members(conversation: string): Promise<Member[]>;
  /** The slash commands in a conversation, each with what it takes. */
  commands(conversation: string): Promise<Command[]>;
  /** Gives a slash command; what it answers to you alone, or `null`. A repeat with the same `client_id` gets the same. */
  command(command: {
    conversation: string;
    /** As it is listed, without the slash. */
    name: string;
    /** By name; a user by id, a duration in milliseconds. */
    arguments?: Record<string, string | number>;
    client_id?: string;
  }): Promise<CommandReply | null>;
  moreConversations(): Promise<void>;
  /** Asks somebody to be a contact; where they asked first, both are. */
  requestContact(user: string): Promise<Contact>;
  acceptContact(user: string): Promise<Contact>;
  declineContact(user: string): Promise<Contact>;
  /** Ends a contact, or takes a request back. */
  removeContact(user: string): Promise<Contact>;
  /** Hears and sees nothing of somebody, and the other way round. */
  block(user: string): Promise<Contact>;
  unblock(user: string): Promise<Contact>;
  /** The person of exactly that name. */
  findUser(name: string): Promise<User | null>;
  /** Changes what others see of this person. */
  setProfile(change: ProfileChange): Promise<User>;
  /** Watches these people, up to 200, and nobody else from now on. Kept over reconnecting. */
  watch(users: string[]): void;
  /** What is known of someone who is watched. */
  presence(user: string): Presence | null;
  /** Asks once who is here. */
  askPresence(users: string[]): Promise<Presence[]>;
  /** This person is writing there: call it as often as keys are hit. */
  typing(conversation: string): void;
  /** Who else is writing there, by id. */
  typists(conversation: string): string[];
  /** The person of that id if known; else it is asked for, and the event `user` follows. */
  person(id: string): User | null;
}
