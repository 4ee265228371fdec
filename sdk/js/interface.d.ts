// The interface of Godwit's plugins, version 0.1, as JavaScript sees it: made of `wit/0.1`.
// A 64-bit number is a `bigint`, an option may be `undefined`, a variant is an object with `tag` and `val`. A function
// that returns a `result` in WIT returns its value here, and throws what is its error: anything that is no `Error`.
// This file is long because it holds every type of the interface, as `wit/` does.

/**
 * What the plugin keeps, under the capability `kv`. A key's bucket is what stands before its first `/`.
 *
 * Own writes are seen at once, and are committed with the event, if the call returns `ok`. Every key that was read
 * and every bucket that was scanned is checked then: where another event changed one, this one runs again.
 */
declare module "godwit:plugin/kv@0.1.0" {
    import type { ServiceError } from "godwit:plugin/errors@0.1.0";
    /** A key and its value. */
    export interface Entry {
        key: string;
        value: Uint8Array;
    }
    /** @throws {ServiceError} */
    export function get(key: string): Uint8Array | undefined;
    /**
     * After `ttl-s` seconds it is gone by itself.
     * @throws {ServiceError}
     */
    export function set(key: string, value: Uint8Array, ttlS?: bigint): void;
    /** @throws {ServiceError} */
    function remove(key: string): void;
    export { remove as delete };
    /**
     * Entries of a bucket after a key, in order of their bytes.
     * @throws {ServiceError}
     */
    export function scan(bucket: string, after: string | undefined, limit: number): Entry[];
}

/**
 * What the plugin's own user sees and does, under the capabilities `send`, `history` and `members`.
 *
 * What is done is done when the call has returned `ok`, in this order. Reads show committed state.
 */
declare module "godwit:plugin/chat@0.1.0" {
    import type { Id, Ms, Content, Message, Role, User } from "godwit:plugin/types@0.1.0";
    import type { ServiceError } from "godwit:plugin/errors@0.1.0";
    /** Where a message goes. */
    export type Target =
        | { tag: "conversation"; val: Id }
        /** The direct conversation with that user. */
        | { tag: "user"; val: Id };
    /** A message that has its number. */
    export interface Numbered {
        conversation: Id;
        seq: bigint;
    }
    /** A message. */
    export type Named =
        | { tag: "number"; val: Numbered }
        /** By what `send` returned, before it has a number. */
        | { tag: "ref"; val: string };
    /** Someone who is in a conversation. */
    export interface Member {
        user: Id;
        role: Role;
        joinedAt: Ms;
    }
    /** Someone. */
    export type Person =
        | { tag: "id"; val: Id }
        | { tag: "name"; val: string };
    /**
     * Returns what the message is called until the event `sent` tells its number. Capability `send`, as up to `typing`.
     * @throws {ServiceError}
     */
    export function send(to: Target, content: Content): string;
    /** @throws {ServiceError} */
    export function edit(message: Named, body: string): void;
    /** @throws {ServiceError} */
    function remove(message: Named): void;
    export { remove as delete };
    /**
     * Sets a reaction, or takes it away.
     * @throws {ServiceError}
     */
    export function react(message: Named, emoji: string, on: boolean): void;
    /** @throws {ServiceError} */
    export function typing(conversation: Id): void;
    /**
     * Messages before a number, or the newest; newest first. Capability `history`.
     * @throws {ServiceError}
     */
    export function history(conversation: Id, before: bigint | undefined, limit: number): Message[];
    /**
     * Members after a user, by id. Capability `members`.
     * @throws {ServiceError}
     */
    export function members(conversation: Id, after: Id | undefined, limit: number): Member[];
    /**
     * Capability `members` or `send`.
     * @throws {ServiceError}
     */
    export function findUser(who: Person): User | undefined;
}

/** Durable alarms of a bot, under the capability `timer`. Each fires once, as the event `timer`. */
declare module "godwit:plugin/timer@0.1.0" {
    import type { Ms } from "godwit:plugin/types@0.1.0";
    import type { ServiceError } from "godwit:plugin/errors@0.1.0";
    /**
     * Replaces one of the same name.
     * @throws {ServiceError}
     */
    export function set(name: string, at: Ms, payload: Uint8Array): void;
    /** @throws {ServiceError} */
    export function cancel(name: string): void;
}

/**
 * Requests to servers whose origins were granted under the capability `http`. The one service that acts at once.
 *
 * A request carries an `Idempotency-Key` that is the same whenever this event makes it.
 */
declare module "godwit:plugin/http@0.1.0" {
    import type { ServiceError } from "godwit:plugin/errors@0.1.0";
    /** A header. */
    export interface Header {
        name: string;
        value: string;
    }
    /** A request. */
    export interface Outgoing {
        /** `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`. */
        method: string;
        url: string;
        /** Not: those of the connection, `host`, `cookie`, `idempotency-key`, and proxies' own. */
        headers: Header[];
        body: Uint8Array;
        /** In all; the host's limit where it is absent or greater. */
        timeoutMs?: number;
    }
    /** An answer, whatever its status. */
    export interface Incoming {
        status: number;
        /** Names in lower case, without cookies. */
        headers: Header[];
        body: Uint8Array;
    }
    /** Why there is no answer. */
    export type HttpError =
        /** Not granted, or not here. */
        | { tag: "denied"; val: string }
        /** The request breaks a limit, named with it. */
        | { tag: "invalid"; val: string }
        /** The name has no address, or one that no plugin may reach. */
        | { tag: "address"; val: string }
        /** Nobody answered, or not in HTTP. */
        | { tag: "connection"; val: string }
        | { tag: "timeout" }
        /** The answer breaks a limit, named with it. */
        | { tag: "too-large"; val: string }
        /** Too many requests of this call or of all plugins. */
        | { tag: "busy"; val: string };
    /** @throws {HttpError} */
    export function fetch(request: Outgoing): Incoming;
}

/** What the operator entrusted to the plugin, under the capability `secret`. */
declare module "godwit:plugin/secret@0.1.0" {
    import type { ServiceError } from "godwit:plugin/errors@0.1.0";
    /** @throws {ServiceError} */
    export function get(name: string): string | undefined;
}

/** Hears events, one at a time in each conversation. What it does through its services is a transaction. */
declare module "godwit:plugin/bot@0.1.0" {
    import type { Conversation, Id, Message, Ms, User } from "godwit:plugin/types@0.1.0";
    import type { Fault } from "godwit:plugin/errors@0.1.0";
    /** A message, as it stands now. */
    export interface Said {
        message: Message;
        sender: User;
    }
    /** A message that was edited, as it stands now. */
    export interface Edited {
        message: Message;
        by: Id;
    }
    /** A message that was deleted for everyone. */
    export interface Deleted {
        seq: bigint;
        by: Id;
    }
    /** A reaction that was set, or taken away. */
    export interface Reaction {
        seq: bigint;
        emoji: string;
        on: boolean;
        by: Id;
    }
    /** Someone who came or went. */
    export interface Moved {
        user: Id;
        by: Id;
    }
    /** A timer that is due. */
    export interface Alarm {
        name: string;
        at: Ms;
        payload: Uint8Array;
    }
    /** A message that got its number. */
    export interface Accepted {
        conversation: Id;
        seq: bigint;
    }
    /** Why a message did not. */
    export interface Refused {
        /** The protocol's error code. */
        code: string;
        text: string;
    }
    /** What became of a message. */
    export type Fate =
        | { tag: "accepted"; val: Accepted }
        /** A person is to look at it first. */
        | { tag: "held" }
        | { tag: "refused"; val: Refused };
    /** What became of a message of its own. */
    export interface Sent {
        /** What `send` returned. */
        ref: string;
        fate: Fate;
    }
    /** What happened. */
    export type What =
        | { tag: "message"; val: Said }
        | { tag: "mentioned"; val: Said }
        | { tag: "edited"; val: Edited }
        | { tag: "deleted"; val: Deleted }
        | { tag: "reaction"; val: Reaction }
        | { tag: "joined"; val: Moved }
        | { tag: "left"; val: Moved }
        | { tag: "timer"; val: Alarm }
        | { tag: "sent"; val: Sent };
    /** Something that happened. */
    export interface Event {
        /** The same each time that this event comes. */
        id: string;
        at: Ms;
        /** Where; absent for what belongs to no conversation. */
        conversation?: Conversation;
        what: What;
    }
    /** What a plugin that serves this hook exports. */
    export interface Bot {
        /** @throws {Fault} */
        onEvent(event: Event): void;
    }
}

/** Slash commands. */
declare module "godwit:plugin/command@0.1.0" {
    import type { Content, Conversation, Id, Role, User } from "godwit:plugin/types@0.1.0";
    /** Of what type an argument is. */
    export type ArgumentKind = "text" | "integer" | "number" | "user" | "duration" | "choice";
    /** An argument. */
    export interface Argument {
        name: string;
        kind: ArgumentKind;
        required: boolean;
        /** What it means, in a line. */
        help: string;
        /** Of a choice. */
        choices: string[];
    }
    /** A command. */
    export interface CommandSpec {
        /** Without the slash. */
        name: string;
        /** What it does, in a line. */
        help: string;
        arguments: Argument[];
    }
    /** A value, already checked against its argument. */
    export type Value =
        | { tag: "text"; val: string }
        | { tag: "integer"; val: bigint }
        | { tag: "number"; val: number }
        | { tag: "user"; val: Id }
        /** In milliseconds. */
        | { tag: "duration"; val: bigint }
        | { tag: "choice"; val: string };
    /** A value under the name of its argument. */
    export interface Given {
        name: string;
        value: Value;
    }
    /** A command that somebody gave. */
    export interface Invocation {
        name: string;
        /** Those that were not given are absent. */
        arguments: Given[];
        conversation: Conversation;
        caller: User;
        role: Role;
    }
    /** What becomes of the answer. */
    export type Reply =
        /** Seen by the caller alone. */
        | { tag: "to-caller"; val: Content }
        /** A message of the plugin's user. */
        | { tag: "to-all"; val: Content }
        | { tag: "none" };
    /** What a plugin that serves this hook exports. */
    export interface Command {
        /** Asked once, when a version is staged. */
        commands(): CommandSpec[];
        /**
         * `err` is shown to the caller.
         * @throws {string}
         */
        run(invocation: Invocation): Reply;
    }
}

/** Says with what attention a message reaches each of those to whom it goes. */
declare module "godwit:plugin/delivery@0.1.0" {
    import type { Scene, Message, User, Role, Ms } from "godwit:plugin/types@0.1.0";
    /** Someone whom the message is about to reach. */
    export interface Recipient {
        user: User;
        role: Role;
        /** Whether a session of theirs is live. */
        online: boolean;
        /** Whether a person is looking at one. */
        active: boolean;
        /** Whether the message mentions them. */
        mentioned: boolean;
        /** Until when they muted the conversation. */
        mutedUntil?: Ms;
    }
    /** In order of quietness: where several plugins differ the quietest counts, of two times the later. */
    export type Attention =
        /** Live, with alert and notification. */
        | { tag: "normal" }
        /** Live, without alert. */
        | { tag: "quiet" }
        /** Live without alert, and a notification at that time, seven days ahead at most. */
        | { tag: "notify-later"; val: Ms }
        /** Live without alert, and no notification. */
        | { tag: "no-notification" };
    /** What a plugin that serves this hook exports. */
    export interface Delivery {
        /** One answer for each recipient, in their order. At most 1,000 are asked about in a call. */
        decide(scene: Scene, message: Message, recipients: Recipient[]): Attention[];
    }
}

/** What goes wrong with actors and their services. */
declare module "godwit:plugin/errors@0.1.0" {
    /** Why an actor did not do what it was asked to. */
    export type Fault =
        /** It is to be asked again, later and later. */
        | { tag: "retry"; val: string }
        /** It is not to be asked again. */
        | { tag: "drop"; val: string };
    /** Why a service did not do what it was asked to. */
    export type ServiceError =
        /** It is not granted, not here, or the plugin's user may not. */
        | { tag: "denied"; val: string }
        | { tag: "not-found" }
        /** Something in the request breaks a limit, named with it. */
        | { tag: "invalid"; val: string }
        /** The conversation's texts are opaque to the host. */
        | { tag: "encrypted" }
        /** The host cannot do it now. */
        | { tag: "unavailable"; val: string };
}

/** Names who gets a message as a live push, and who is to be notified. Never who may read it: everyone who is in does. */
declare module "godwit:plugin/fan-out@0.1.0" {
    import type { Scene, Message, Id } from "godwit:plugin/types@0.1.0";
    /** What there is to know beside the message. */
    export interface Facts {
        /** Above how many members live messages flow to followers alone, unless a rule says otherwise. */
        followAbove: number;
        memberCount: number;
        /** How many members follow with a live session. */
        followerCount: number;
        /** How many members have a live session. */
        onlineCount: number;
        /** Owners and admins. */
        admins: Id[];
        /** Members whom the message mentions. */
        mentioned: Id[];
        /** Who is in: under the capability `member-list`, and of up to 1,000 members. */
        members?: Id[];
    }
    /** Who gets a live push; the others hear that there is something new, at most once a second. */
    export type Live =
        | { tag: "everyone" }
        | { tag: "followers" }
        | { tag: "followers-and"; val: Id[] }
        | { tag: "only"; val: Id[] };
    /** Who is to be notified. */
    export type Notified =
        | { tag: "everyone" }
        | { tag: "mentioned" }
        | { tag: "only"; val: Id[] }
        | { tag: "nobody" };
    export interface Audience {
        live: Live;
        notified: Notified;
    }
    /** What a plugin that serves this hook exports. */
    export interface FanOut {
        /** `none` leaves it to the plugins that come later, and in the end to the host's own rule. */
        choose(scene: Scene, message: Message, facts: Facts): Audience | undefined;
    }
}

/** Answers HTTP requests to `/v1/hooks/{plugin}/{path}`. */
declare module "godwit:plugin/inbound@0.1.0" {
    import type { Fault } from "godwit:plugin/errors@0.1.0";
    /** A header. */
    export interface Header {
        /** In lower case. */
        name: string;
        value: string;
    }
    /** A request. */
    export interface Request {
        method: string;
        /** What comes after `/v1/hooks/{plugin}/`. */
        path: string;
        query?: string;
        /** Without cookies and the host's own credentials. */
        headers: Header[];
        body: Uint8Array;
        /** From where. */
        address: string;
    }
    /** What a body is. The host sets all headers. */
    export type Media = "json" | "text" | "bytes";
    /** A response. */
    export interface Response {
        /** 200 to 599. */
        status: number;
        media: Media;
        body: Uint8Array;
    }
    /** What a plugin that serves this hook exports. */
    export interface Inbound {
        /**
         * Called at most once for a request.
         * @throws {Fault}
         */
        handle(request: Request): Response;
    }
}

/** Called once in each new instance. */
declare module "godwit:plugin/lifecycle@0.1.0" {
    /** What a plugin that serves this hook exports. */
    export interface Lifecycle {
        /**
         * The operator's configuration: JSON, already checked against the manifest's schema.
         * Build automatons here; an `err` refuses the instance.
         * @throws {string}
         */
        init(config: string): void;
    }
}

/** Decides what other people will read. Sees the final text. */
declare module "godwit:plugin/moderation@0.1.0" {
    import type { Scene, Content, Message, Reason } from "godwit:plugin/types@0.1.0";
    /** An edit of a message. */
    export interface Edit {
        original: Message;
        content: Content;
    }
    /** What is judged. */
    export type Subject =
        | { tag: "message"; val: Content }
        | { tag: "edit"; val: Edit }
        | { tag: "title"; val: string }
        | { tag: "user-name"; val: string }
        | { tag: "display-name"; val: string }
        | { tag: "file-name"; val: string }
        | { tag: "reaction"; val: string };
    /** What is decided. */
    export type Verdict =
        | { tag: "allow" }
        | { tag: "reject"; val: Reason }
        | { tag: "hold"; val: Reason };
    /** What a plugin that serves this hook exports. */
    export interface Moderation {
        /** The first reject ends the chain. */
        review(scene: Scene, subject: Subject): Verdict;
    }
}

/** The only place that changes content. Runs before moderation, each plugin seeing what the one before it made. */
declare module "godwit:plugin/normalise@0.1.0" {
    import type { Scene, Content, Id, Reason } from "godwit:plugin/types@0.1.0";
    /** What replaces the content's text. */
    export interface Rewrite {
        body: string;
        mentions: Id[];
    }
    /** What a plugin that serves this hook exports. */
    export interface Normalise {
        /**
         * `none` leaves the content as it is; `err` refuses it as `moderated`.
         * @throws {Reason}
         */
        normalise(scene: Scene, content: Content): Rewrite | undefined;
    }
}

/** Delivers notifications to kinds of devices that the host does not serve itself. */
declare module "godwit:plugin/notifier@0.1.0" {
    import type { Id, Ms } from "godwit:plugin/types@0.1.0";
    import type { Fault } from "godwit:plugin/errors@0.1.0";
    /** A notification of a message. */
    export interface Notification {
        /** One of `kinds`. */
        kind: string;
        /** Where the device is reached. */
        endpoint: string;
        /** What its owner gave with it. */
        keys?: string;
        user: Id;
        device: string;
        conversation: Id;
        seq: bigint;
        sender: Id;
        /** Its text, where the user allows previews. */
        preview?: string;
    }
    /** What became of it. */
    export type Outcome =
        | { tag: "sent" }
        /** The device is no more, and is to be forgotten. */
        | { tag: "gone" }
        | { tag: "later"; val: Ms };
    /** What a plugin that serves this hook exports. */
    export interface Notifier {
        /** Asked once, when a version is staged. */
        kinds(): string[];
        /** @throws {Fault} */
        notify(notification: Notification): Outcome;
    }
}

/** Lines for the operator. A plugin's standard output and standard error go there too. */
declare module "godwit:plugin/log@0.1.0" {
    export type Level = "trace" | "debug" | "info" | "warn" | "error";
    export function log(level: Level, message: string): void;
}

/** Sliding counters in memory, of this plugin alone. Approximate, and forgotten with the process. */
declare module "godwit:plugin/rate@0.1.0" {
    /** Counts this call and returns how many there were in the last `window-ms` (up to an hour), this one included. */
    export function hit(key: string, windowMs: number): number;
    /** The same without counting. */
    export function peek(key: string, windowMs: number): number;
}

/** The plugin's own `kv`, from a copy in memory. Two reads may differ. */
declare module "godwit:plugin/state@0.1.0" {
    export function get(key: string): Uint8Array | undefined;
    /** One answer per key, in order. */
    export function getMany(keys: string[]): (Uint8Array | undefined)[];
}

/** Time zones by their IANA names. */
declare module "godwit:plugin/zone@0.1.0" {
    import type { Ms } from "godwit:plugin/types@0.1.0";
    /** A clock and a calendar on a wall somewhere. */
    export interface LocalTime {
        year: S16;
        /** 1 to 12. */
        month: number;
        /** 1 to 31. */
        day: number;
        hour: number;
        minute: number;
        second: number;
        millisecond: number;
        /** 1 is Monday, 7 Sunday. `instant` does not look at it. */
        weekday: number;
        /** Seconds east of Greenwich. `instant` looks at it only where clocks show a time twice. */
        offsetS: number;
    }
    /** What clocks show there; `none` for a zone or a time that does not exist. */
    export function local(zone: string, at: Ms): LocalTime | undefined;
    /** When clocks show that; a time that clocks skip counts as the one an hour (or however long the gap is) later. */
    export function instant(zone: string, local: LocalTime): Ms | undefined;
}

/** What every hook and service means the same by. */
declare module "godwit:plugin/types@0.1.0" {
    /** A UUID; flat, so that lists of them are cheap. */
    export interface Id {
        hi: bigint;
        lo: bigint;
    }
    /** Milliseconds since the Unix epoch. */
    export type Ms = bigint;
    /** What others see of a user. */
    export interface User {
        id: Id;
        name: string;
        displayName?: string;
        bot: boolean;
        joinedAt: Ms;
        /** IANA name. */
        timeZone?: string;
    }
    /** What kind of conversation. */
    export type ConversationKind = "direct" | "group" | "channel";
    /** A conversation, apart from its members and messages. */
    export interface Conversation {
        id: Id;
        kind: ConversationKind;
        title?: string;
        memberCount: number;
        encrypted: boolean;
        labels: string[];
    }
    /** What a member may do. */
    export type Role = "owner" | "admin" | "member" | "reader";
    /** What kind of content. */
    export type ContentKind = "text" | "image" | "file" | "video" | "audio" | "system" | "encrypted";
    /** A file that a message carries. */
    export interface Attachment {
        media: Id;
        name: string;
        mediaType: string;
        /** In bytes. */
        size: bigint;
        width?: number;
        height?: number;
    }
    /** What a message says. Of an encrypted one `body` and `attachments` are empty. */
    export interface Content {
        kind: ContentKind;
        body: string;
        attachments: Attachment[];
        replyTo?: bigint;
        thread?: bigint;
        mentions: Id[];
        expiresInS?: number;
    }
    /** A message that has its number. */
    export interface Message {
        conversation: Id;
        seq: bigint;
        sender: Id;
        sentAt: Ms;
        content: Content;
        edited: boolean;
        /** The plugin that sent it. */
        via?: string;
    }
    /** Attempts to send. */
    export interface Counts {
        messages10s: number;
        messages60s: number;
        messages1h: number;
    }
    /** What the sender did before this attempt, as this node saw it. */
    export interface SenderActivity {
        /** In this conversation. */
        here?: Counts;
        overall: Counts;
        /** With this very body; encrypted bodies never count as equal. */
        sameBody60s: number;
        memberSince?: Ms;
    }
    /** What every filter is told. */
    export interface Scene {
        now: Ms;
        conversation?: Conversation;
        sender: User;
        senderRole?: Role;
        activity: SenderActivity;
        via?: string;
    }
    /** Why something is refused. */
    export interface Reason {
        /** Stable, lower-case words. */
        code: string;
        /** Shown to the sender. */
        text: string;
    }
}
